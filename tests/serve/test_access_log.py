"""The access log: a line for each request that says who asked for what and how it went, and no word of what was asked."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.keys import KeyRing
from core.settings import Settings
from core.telemetry import configure_logging
from serve.access_log import AccessLog, client_of
from serve.facts import Facts
from tests.serve.conftest import Service, Start

_SECRET = "mein Befund 秘密 4711"


@pytest.fixture
def logged(settings: Settings) -> Iterator[Path]:
    """Have everything Hone logs go to the state folder, and put the logger back afterwards."""
    logger = logging.getLogger("hone")
    before = (logger.handlers[:], logger.level, logger.propagate)
    configure_logging("DEBUG", settings.home.logs / "serve.jsonl")
    yield settings.home.logs
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:], logger.level, logger.propagate = before


def _lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "access.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_each_request_has_a_line_and_neither_texts_nor_keys_are_in_any_log(start: Start, logged: Path) -> None:
    folder = logged
    ring = KeyRing(folder.parent / "keys.json")
    _, secret = ring.create("shop", "operate")
    async with start(changed={"access_log_ratio": 1.0, "auth": "on"}) as service:
        await _ask(service, secret)
    lines = _lines(folder)
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/v1/predict", 200),
        ("POST", "/predict", 200),
        ("POST", "/v1/predict", 401),
        ("POST", "/v1/corrections", 422),
        ("GET", "/v1/models/{version}", 404),
        ("GET", "unmatched", 404),
    ]
    first = lines[0]
    assert (first["request_id"], first["texts"], first["version"], first["source"]) == ("trace-7", 2, "v1", "head")
    assert first["key"].startswith("shop (")
    assert (first["client"], first["replica"]) == ("curl", "replica-1")
    assert 0 < first["duration_s"] < 60
    assert [line["code"] for line in lines] == [
        None,
        None,
        "unauthenticated",
        "unknown_label",
        "unknown_version",
        "unknown_route",
    ]
    told = "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
    for word in (*_SECRET.split(), "Befund", secret, "wrong-key"):
        assert word not in told


async def _ask(service: Service, secret: str) -> None:
    authorization = f"Bearer {secret}"
    named = {"x-request-id": "trace-7", "user-agent": f"curl/8 {_SECRET}".encode().decode("latin-1")}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in {**named, "authorization": authorization}.items()]
    answer = await service.http.post("/v1/predict", json={"texts": [_SECRET, "so positive"]}, headers=headers)
    assert (answer.status_code, answer.headers["x-request-id"]) == (200, "trace-7")
    for path, body, key in (
        ("/predict", {"inputs": _SECRET}, secret),
        ("/v1/predict", {"text": _SECRET}, "wrong-key"),
        ("/v1/corrections", {"text": _SECRET, "label": _SECRET}, secret),
    ):
        await service.post(path, body, authorization=f"Bearer {key}")
    for path in (f"/v1/models/{_SECRET}", f"/{_SECRET}?text={_SECRET}"):
        await service.http.get(path, headers={"authorization": authorization})


async def test_it_is_off_unless_asked_for(service: Service) -> None:
    await service.post("/v1/predict", {"text": "positive"})
    assert service.parts.teller is None
    assert not (service.parts.settings.home.logs / "access.jsonl").exists()


def _scope(request_id: str) -> dict[str, Any]:
    return {"hone.request_id": request_id, "hone.started": 0.0, "method": "POST", "headers": []}


def test_a_share_of_the_requests_is_logged_the_same_everywhere_and_all_server_errors(tmp_path: Path) -> None:
    for replica in ("one", "two"):
        (tmp_path / replica).mkdir()
        log = AccessLog(tmp_path / replica / "access.jsonl", ratio=0.25, max_bytes=10_000_000, replica_id=replica)
        for number in range(1_000):
            log.note(_scope(f"r{number}"), "/v1/predict", 200, Facts())
            log.note(_scope(f"e{number}"), "/v1/predict", 503, Facts())
        log.close()
        log.close()
    ids = [[line["request_id"] for line in _lines(tmp_path / replica)] for replica in ("one", "two")]
    assert ids[0] == ids[1]
    assert sum(name.startswith("e") for name in ids[0]) == 1_000
    assert 180 < sum(name.startswith("r") for name in ids[0]) < 320


def test_the_log_never_outgrows_its_bound(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.jsonl", ratio=1.0, max_bytes=10_000, replica_id="one")
    for number in range(20):
        for _ in range(100):
            log.note(_scope(f"r{number}"), "/v1/predict", 200, Facts())
        log._write()
    log.close()
    assert {path.name for path in tmp_path.iterdir()} <= {
        "access.jsonl",
        *(f"access.jsonl.{n}" for n in "123"),
        "access.jsonl.lock",
    }


def test_a_disk_that_cannot_be_written_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "nowhere" / "access.jsonl", ratio=1.0, max_bytes=10_000, replica_id="one")
    log.note(_scope("r1"), "/v1/predict", 200, Facts())
    log.close()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("agent", "kind"),
    [("hone-python", "hone"), ("Mozilla/5.0 (X11)", "browser"), (_SECRET, "other"), ("python-httpx/1", "python")],
)
def test_clients_are_of_few_kinds(agent: str, kind: str) -> None:
    assert client_of([(b"user-agent", agent.encode())]) == kind
