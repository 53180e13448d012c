"""When the clients send again, and when they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import GateRefused, HoneError, IdempotencyConflict, NoModel, Overloaded, Unavailable, UnknownLabel
from core.schemas import PredictionAnswer
from deploy.clients import AsyncClient, Client, Connection, Retries
from deploy.clients.retrying import retry_after_s
from tests.deploy.clients.scripted import Reply, Script, scripted

Ask = Callable[[Script, str], Any]

ANSWER = PredictionAnswer.model_validate(
    {
        "prediction_id": "p_1",
        "label": "positive",
        "score": 0.9,
        "scores": [{"label": "positive", "score": 0.9}],
        "model_version": "v1",
        "source": "head",
        "truncated": False,
        "abstained": False,
        "windows": 1,
    }
).model_dump(mode="json")
QUICK = Retries(attempts=3, first_pause_s=0.001, longest_pause_s=0.01)


def _error(status: int, code: str, **headers: str) -> Reply:
    body = {"error": "what was wrong", "code": code, "details": {"nearest": ["a"]}, "request_id": "r"}
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def _blocking(script: Script, what: str) -> Any:
    with Client(Connection(script.url, retries=QUICK, trust_env=False)) as client:
        return CALLS[what](client)


def _asynchronous(script: Script, what: str) -> Any:
    async def ask() -> Any:
        async with AsyncClient(Connection(script.url, retries=QUICK, trust_env=False)) as client:
            return await CALLS[what](client)

    return asyncio.run(ask())


CALLS: dict[str, Callable[[Any], Any]] = {
    "predict": lambda client: client.predict("a"),
    "correct": lambda client: client.correct("positive", text="a"),
    "status": lambda client: client.status(),
    "promote": lambda client: client.promote("v2"),
    "roll_back": lambda client: client.roll_back(),
    "start_run": lambda client: client.start_run(),
    "continue_run": lambda client: client.continue_run("r_1", "resume"),
    "stop_run": lambda client: client.stop_run("r_1"),
}
ONCE = {"roll_back", "start_run", "continue_run", "stop_run"}

both = pytest.mark.parametrize("ask", [_blocking, _asynchronous], ids=["Client", "AsyncClient"])


@both
@pytest.mark.parametrize("first", [_error(429, "overloaded"), _error(503, "no_model"), Reply(0)], ids=["429", "503", "broken"])
def test_what_may_succeed_later_is_sent_again(ask: Ask, first: Reply) -> None:
    with scripted([first, first, Reply(200, ANSWER)]) as script:
        assert ask(script, "predict").label == "positive"
        assert len(script.asked) == 3


@both
@pytest.mark.parametrize(("status", "kind"), [(429, Overloaded), (503, NoModel)])
def test_patience_ends_with_the_error_of_the_service(ask: Ask, status: int, kind: type[HoneError]) -> None:
    with scripted([_error(status, kind.code)]) as script:
        with pytest.raises(kind, match="what was wrong") as caught:
            ask(script, "predict")
        assert caught.value.details == {"nearest": ["a"]}
        assert len(script.asked) == QUICK.attempts


@both
@pytest.mark.parametrize("what", CALLS)
def test_what_could_be_done_twice_is_sent_once(ask: Ask, what: str) -> None:
    for reply in (Reply(0), _error(503, "store_unavailable")):
        with scripted([reply]) as script:
            with pytest.raises(Unavailable):
                ask(script, what)
            assert len(script.asked) == (1 if what in ONCE else QUICK.attempts)


@both
@pytest.mark.parametrize("what", CALLS)
def test_what_was_refused_before_it_was_done_is_sent_again_whatever_it_is(ask: Ask, what: str) -> None:
    with scripted([_error(429, "overloaded")]) as script:
        with pytest.raises(Overloaded):
            ask(script, what)
        assert len(script.asked) == QUICK.attempts


@both
def test_a_correction_carries_one_key_through_all_its_attempts_and_a_new_one_next_time(ask: Ask) -> None:
    with scripted([Reply(0)]) as script:
        for _ in range(2):
            with pytest.raises(Unavailable):
                ask(script, "correct")
        keys = [asked.headers["idempotency-key"] for asked in script.asked]
        assert len(keys) == 2 * QUICK.attempts
        assert [len(set(keys[:3])), len(set(keys[3:])), len(set(keys))] == [1, 1, 2]


@both
@pytest.mark.parametrize(
    ("status", "kind"), [(422, UnknownLabel), (409, IdempotencyConflict), (409, GateRefused), (500, HoneError)]
)
def test_what_would_fail_again_is_not_sent_again(ask: Ask, status: int, kind: type[HoneError]) -> None:
    with scripted([_error(status, kind.code)]) as script:
        with pytest.raises(kind) as caught:
            ask(script, "predict")
        assert type(caught.value) is kind
        assert len(script.asked) == 1


@both
def test_an_error_of_a_newer_service_is_the_root_of_the_tree(ask: Ask) -> None:
    with scripted([_error(418, "brand_new")]) as script, pytest.raises(HoneError, match="what was wrong"):
        ask(script, "predict")


@both
def test_fields_of_a_newer_service_are_left_out(ask: Ask) -> None:
    with scripted([Reply(200, {**ANSWER, "brand_new": 1})]) as script:
        assert ask(script, "predict").model_dump(mode="json") == ANSWER


@both
@pytest.mark.parametrize("reply", [Reply(200, ["no object"]), Reply(200, {"label": "a"}), Reply(502, "<html>")])
def test_what_is_no_hone_service_is_said_to_be_none(ask: Ask, reply: Reply) -> None:
    with scripted([reply]) as script, pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
        ask(script, "predict")


@both
def test_where_nothing_listens(ask: Ask) -> None:
    with scripted([Reply()]) as script:
        url = script.url
    with pytest.raises(Unavailable, match="does not answer"):
        ask(Script(url, []), "start_run")


def test_a_key_is_sent_and_never_shown() -> None:
    with scripted([Reply(200, ANSWER)]) as script, Client(script.url, api_key="hone_secret") as client:
        client.predict("a")
        assert script.asked[0].headers["authorization"] == "Bearer hone_secret"
        assert "hone_secret" not in repr(client.connection)


@given(st.integers(1, 50), st.floats(0, 10))
def test_pauses_grow_stay_bounded_and_honour_the_service(attempt: int, asked_s: float) -> None:
    retries = Retries(attempts=60, first_pause_s=0.25, longest_pause_s=10.0)
    longest = min(0.25 * 2 ** (attempt - 1), 10.0)
    pause = retries.pause_s(attempt)
    assert pause is not None
    assert longest / 2 <= pause <= longest
    told = retries.pause_s(attempt, asked_s)
    assert told is not None
    assert told >= asked_s


def test_a_client_that_would_have_to_wait_too_long_gives_up() -> None:
    retries = Retries(attempts=3, longest_pause_s=10.0)
    assert retries.pause_s(1, 60.0) is None
    assert retries.pause_s(3) is None
    with scripted([_error(503, "no_model", retry_after="60")]) as script:
        with pytest.raises(NoModel):
            _blocking(script, "predict")
        assert len(script.asked) == 1


@pytest.mark.parametrize(("text", "seconds"), [("2", 2.0), ("0", 0.0), ("soon", None), ("", None), ("-1", None)])
def test_seconds_to_wait_are_read(text: str, seconds: float | None) -> None:
    assert retry_after_s(httpx.Response(429, headers={"retry-after": text})) == seconds


def test_a_date_to_wait_for_is_read() -> None:
    moment = datetime.now(UTC) + timedelta(seconds=100)
    found = retry_after_s(httpx.Response(503, headers={"retry-after": format_datetime(moment, usegmt=True)}))
    assert found is not None
    assert 90 < found <= 100
    past = retry_after_s(httpx.Response(503, headers={"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}))
    assert past == 0.0
    assert retry_after_s(httpx.ConnectError("…")) is None
