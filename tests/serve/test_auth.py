"""API keys at the door: which route takes which role, how a key is sent, and that none ever shows."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route

from core.errors import Exposed
from core.exposure import check_exposure
from core.keys import ROLES, KeyRing, KeySet, Role
from core.schemas import ErrorAnswer, now
from core.settings import Settings
from core.telemetry import JsonLines
from serve.app import build_app, build_routes
from serve.auth import presented
from serve.key_watcher import POLL_S, KeyWatcher
from serve.parts import assemble
from serve.roles import ROUTE_ROLES, RouteTable
from tests.serve.conftest import Service, Start
from tests.serve.fakes import until


@pytest.fixture
def ring(settings: Settings) -> KeyRing:
    return KeyRing(settings.home.keys)


@pytest.fixture
def secrets(ring: KeyRing) -> dict[Role, str]:
    """Give a key of each role."""
    return {role: ring.create(f"key-{role}", role)[1] for role in ROLES}


@pytest.fixture
async def guarded(start: Start, secrets: dict[Role, str]) -> AsyncIterator[Service]:
    """Give a replica whose requests take a key."""
    async with start(changed={"auth": "on"}) as service:
        yield service


# The table


def _operations(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    for route in routes:
        included = getattr(route, "original_router", None)
        if isinstance(route, Mount):
            yield from _operations(list(route.routes), prefix + route.path)
        elif included is not None:
            yield from _operations(included.routes, prefix)
        else:
            # Anything else, a websocket say, has no role to be given.
            assert isinstance(route, APIRoute | Route)
            # A route that names no methods answers them all itself, and says in the table which it means.
            methods = route.methods or {method for method, path in ROUTE_ROLES if path == prefix + route.path} or {"ANY"}
            yield from ((method, prefix + route.path) for method in methods)


async def test_every_route_has_a_role_and_every_role_a_route(settings: Settings) -> None:
    parts = assemble(settings, None, "replica-1")
    assert set(_operations(build_routes(parts))) == set(ROUTE_ROLES)


def test_a_path_nobody_thought_of_takes_the_most_powerful_role() -> None:
    table = RouteTable()
    assert table.find("GET", "/v1/nope") == ("unmatched", "operate")
    assert table.find("POST", "/v1/predict/") == ("unmatched", "operate")
    assert table.find("POST", "//v1/predict") == ("unmatched", "operate")
    assert table.find("GET", "/v1/models/v1/promote") == ("/v1/models/{version}/promote", "operate")
    assert table.find("GET", "/v1/predict") == ("/v1/predict", "predict")
    assert table.find("PUT", "/healthz") == ("/healthz", None)


async def test_each_role_opens_its_routes_and_no_other(guarded: Service, secrets: dict[Role, str]) -> None:
    for (method, pattern), needed in ROUTE_ROLES.items():
        path = re.sub(r"\{\w+\}", "x9", pattern)
        for role in (None, *ROLES):
            answer = await _ask(guarded, method, path, secrets[role] if role else None)
            opens = needed is None or (role is not None and ROLES.index(role) >= ROLES.index(needed))
            refused = answer.status_code in (401, 403)
            assert refused != opens, (method, pattern, role, answer.status_code)
            if refused:
                assert answer.status_code == (401 if role is None else 403)
                told = answer.json()
                assert told["code"] == ("unauthenticated" if role is None else "role_missing")
                assert told["details"]["role"] == needed
                assert answer.headers["www-authenticate"].startswith('Bearer realm="hone"')


async def _ask(service: Service, method: str, path: str, secret: str | None) -> httpx.Response:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    if method != "POST":
        return await service.http.request(method, path, headers=headers)
    # A body that no route takes, so that nothing is changed by whom it lets in.
    return await service.http.post(path, content=b"{", headers={"content-type": "application/json", **headers})


async def test_the_document_says_what_each_operation_takes(guarded: Service) -> None:
    document = (await guarded.http.get("/openapi.json")).json()
    assert set(document["components"]["securitySchemes"]) == {"key", "password", "header"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            role = ROUTE_ROLES[(method.upper(), path)]
            assert operation.get("x-role") == role
            assert bool(operation["security"]) == (role is not None)


# How a key is sent


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def test_a_key_is_sent_as_bearer_as_password_or_in_a_header_of_its_own(
    guarded: Service, secrets: dict[Role, str]
) -> None:
    key = secrets["predict"]
    for headers in (
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bearer   {key} "},
        {"authorization": _basic("anybody", key)},
        {"authorization": _basic("", key)},
        {"x-api-key": key},
        {"X-API-Key": f" {key}"},
        {"authorization": "Negotiate abc", "x-api-key": key},
    ):
        answer = await guarded.http.post("/v1/predict", json={"text": "so positive"}, headers=headers)
        assert answer.status_code == 200, headers


async def test_what_is_no_key_opens_nothing(guarded: Service, secrets: dict[Role, str]) -> None:
    key = secrets["operate"]
    for headers in (
        {"authorization": key},
        {"authorization": "Bearer"},
        {"authorization": "Bearer hf_something"},
        {"authorization": f"Bearer {key}x"},
        {"authorization": _basic(key, "")},
        {"authorization": "Basic %%%"},
        {"authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()},
        # The one that is named first decides: a right key beside a wrong one is not looked for.
        {"authorization": "Bearer wrong", "x-api-key": key},
        {"x-api-key": "x" * 15_000},
        {"cookie": f"key={key}"},
    ):
        answer = await guarded.http.post("/v1/rollback", json={}, headers=headers)
        assert answer.status_code == 401, headers
    assert (await guarded.http.post(f"/v1/rollback?key={key}&x-api-key={key}", json={})).status_code == 401


def test_bytes_of_any_kind_are_read_as_some_secret() -> None:
    assert presented([(b"authorization", b"Bearer \xff\xfe")]) == "\xff\xfe"
    assert presented([(b"authorization", b"Digest x")]) is None
    assert presented([]) is None


# What changes while it runs


async def test_a_change_is_noticed_within_a_second(guarded: Service, ring: KeyRing) -> None:
    async def status(secret: str) -> int:
        return (await _ask(guarded, "GET", "/v1/status", secret)).status_code

    _, secret = ring.create("late", "predict")
    while await status(secret) == 401:  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.02)
    ring.revoke("late")
    while await status(secret) == 200:  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.02)
    assert POLL_S < 1.0


async def test_an_expired_key_is_refused_at_its_hour(guarded: Service, ring: KeyRing) -> None:
    _, secret = ring.create("short", "predict", expires_at=now() + timedelta(seconds=0.8))
    guarded.parts.key_watcher.look()  # type: ignore[union-attr] # it is there: keys are on
    assert (await _ask(guarded, "GET", "/v1/status", secret)).status_code == 200
    await asyncio.sleep(0.9)
    assert (await _ask(guarded, "GET", "/v1/status", secret)).status_code == 401


def test_a_damaged_file_leaves_the_keys_as_they_were(
    settings: Settings, ring: KeyRing, caplog: pytest.LogCaptureFixture
) -> None:
    _, secret = ring.create("ada", "predict")
    watcher = KeyWatcher(settings.home.keys)
    settings.home.keys.write_text('{"keys": "secret of somebody"', encoding="utf-8")
    watcher.look()
    watcher.look()
    assert watcher.keys.find(secret) is not None
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1, "told once, not at every look"
    assert "secret of somebody" not in errors[0]
    settings.home.keys.unlink()
    watcher.look()
    assert watcher.keys == KeySet({}), "no file, no keys"


async def test_nobody_gets_in_while_there_are_no_keys(start: Start) -> None:
    async with start(changed={"host": "0.0.0.0"}) as service:
        assert (await service.post("/v1/predict", {"text": "a"})).status_code == 401
        assert (await service.http.get("/readyz")).status_code == 200


async def test_predicting_with_a_key_does_not_need_the_store(start: Start, secrets: dict[Role, str], tmp_path: Path) -> None:
    # No folder can be made below a file, whoever runs the tests.
    (tmp_path / "file").touch()
    changed = {"auth": "on", "store_url": f"sqlite:///{tmp_path}/file/feedback.db"}
    async with start(changed=changed) as service:
        answer = await service.post("/v1/predict", {"text": "so positive"}, authorization=f"Bearer {secrets['predict']}")
        assert answer.status_code == 200


# Many requests of one key


async def test_a_key_has_so_many_requests_in_flight_and_others_are_not_held_up(start: Start, secrets: dict[Role, str]) -> None:
    async with start(changed={"auth": "on", "max_in_flight_per_key": 2}) as service:
        free, entered = asyncio.Event(), asyncio.Semaphore(0)

        @asynccontextmanager
        async def held() -> AsyncIterator[None]:
            score = service.parts.batcher.score

            async def slow(*args: object, **options: object) -> object:
                entered.release()
                await free.wait()
                return await score(*args, **options)  # type: ignore[arg-type] # passed on as they are

            service.parts.batcher.score = slow  # type: ignore[method-assign, assignment]
            yield
            service.parts.batcher.score = score  # type: ignore[method-assign]

        async def ask(role: Role) -> httpx.Response:
            return await service.post("/v1/predict", {"text": "so positive"}, authorization=f"Bearer {secrets[role]}")

        async with held():
            busy = [asyncio.create_task(ask("predict")) for _ in range(2)]
            for _ in busy:
                await entered.acquire()
            refused = await ask("predict")
            told = ErrorAnswer.model_validate_json(refused.content)
            assert (refused.status_code, told.code, told.details["allowed"]) == (429, "key_busy", 2)
            assert int(refused.headers["retry-after"]) >= 1
            other = asyncio.create_task(ask("annotate"))
            await entered.acquire()
            free.set()
            assert [answer.status_code for answer in await asyncio.gather(*busy, other)] == [200, 200, 200]
        assert (await ask("predict")).status_code == 200
        assert service.value("hone_refused_total", code="key_busy") == 1.0


# What shows


async def test_a_secret_shows_nowhere(guarded: Service, secrets: dict[Role, str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="hone")
    bodies = []
    for secret in (*secrets.values(), "hone_000000000000_" + "s" * 43):
        for method, path in (("POST", "/v1/predict"), ("POST", "/v1/rollback"), ("GET", "/v1/status"), ("GET", "/nope")):
            bodies.append((await _ask(guarded, method, path, secret)).text)
    bodies.append((await _ask(guarded, "GET", "/metrics", secrets["operate"])).text)
    logged = "".join(JsonLines().format(record) for record in caplog.records if record.name.startswith("hone"))
    shown = "".join(bodies) + logged
    for secret in (*secrets.values(), "s" * 43):
        # What follows hone_ and the key's id; it may hold a "_" of its own.
        assert secret.split("_", 2)[-1] not in shown
    assert "key-operate" in logged, "who operated is on record, by name"
    assert "key-" not in bodies[-1], "no key names a time series"


async def test_refusals_are_counted_by_route(guarded: Service, secrets: dict[Role, str]) -> None:
    await _ask(guarded, "POST", "/v1/predict", None)
    await _ask(guarded, "POST", "/v1/models/v1/promote", secrets["predict"])
    assert guarded.value("hone_requests_total", route="/v1/predict", status="401") == 1.0
    assert guarded.value("hone_requests_total", route="/v1/models/{version}/promote", status="403") == 1.0
    assert guarded.value("hone_refused_total", code="unauthenticated") == 1.0


# Where keys are asked for


async def test_loopback_asks_for_no_key(service: Service) -> None:
    assert (await service.post("/v1/predict", {"text": "so positive"})).status_code == 200
    assert service.parts.key_watcher is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "hone.example"])
async def test_to_be_open_to_other_machines_has_to_be_said_twice(settings: Settings, host: str) -> None:
    exposed = settings.model_copy(update={"host": host, "auth": "off"})
    parts = assemble(exposed, None, "replica-1")
    for refuse in (lambda: check_exposure(exposed), lambda: build_app(parts)):
        with pytest.raises(Exposed, match="HONE_ALLOW_UNAUTHENTICATED=true"):
            refuse()
    check_exposure(exposed.model_copy(update={"allow_unauthenticated": True}))
    check_exposure(exposed.model_copy(update={"auth": "auto"}))


async def test_a_web_page_cannot_pretend_to_be_of_this_machine(service: Service) -> None:
    async def status(host: str) -> int:
        return (await service.post("/v1/predict", {"text": "so positive"}, host=host)).status_code

    for near in ("localhost", "localhost:8321", "hone.localhost", "127.0.0.1:8321", "[::1]:8321", "laptop", "LOCALHOST"):
        assert await status(near) == 200, near
    for far in ("evil.example", "evil.example:8321", "localhost.evil.example", "127.0.0.1.evil.example", "[::1].evil.example"):
        assert await status(far) == 421, far
    refused = await service.http.get("/v1/status", headers={"host": "evil.example"})
    assert ErrorAnswer.model_validate_json(refused.content).code == "foreign_host"


async def test_with_keys_any_name_is_answered(guarded: Service, secrets: dict[Role, str]) -> None:
    answer = await guarded.post("/v1/predict", {"text": "a"}, host="hone.example", authorization=f"Bearer {secrets['predict']}")
    assert answer.status_code == 200
    loaded = guarded.parts.slot
    await until(lambda: loaded.current is not None)
