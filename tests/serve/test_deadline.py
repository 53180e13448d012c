"""Deadlines: what cannot be in time is not started, and the caller is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from starlette.types import Receive, Scope, Send

from core.errors import DeadlineExceeded, InvalidHeader
from core.metrics import Metrics
from serve.admission import Admission, QueueLimits
from serve.batching import Batcher
from serve.deadline import DEADLINE, requested_timeout_s
from serve.edge import Edge
from serve.waiting import BatchBudget
from tests.serve.fakes import FakeEngine, until, words


@pytest.fixture
async def batcher() -> AsyncIterator[Batcher]:
    batcher = Batcher(BatchBudget(8, 256), Admission(QueueLimits(1_000)), Metrics())
    batcher.start()
    yield batcher
    await batcher.close()


@pytest.mark.parametrize(
    "value", [b"", b"0", b"-1", b"0.0", b"nan", b"inf", b"1e3", b"1,5", b"soon", b"1 ", b"\xb2", b"9" * 40]
)
def test_a_header_that_is_no_time_is_refused_with_what_is_allowed(value: bytes) -> None:
    with pytest.raises(InvalidHeader, match="seconds above 0"):
        requested_timeout_s([(b"x-request-timeout", value)], 30.0)


def test_a_caller_may_shorten_its_time_and_not_lengthen_it() -> None:
    assert requested_timeout_s([(b"x-request-timeout", b"2.5")], 30.0) == 2.5
    assert requested_timeout_s([(b"x-request-timeout", b"3600")], 30.0) == 30.0


async def test_late_work_is_not_started_and_other_work_is(batcher: Batcher) -> None:
    engine = FakeEngine()
    engine.free.clear()
    first = asyncio.create_task(batcher.score(engine, [words(1)]))
    assert await asyncio.to_thread(engine.started.wait, 30)

    async def late() -> None:
        DEADLINE.set(monotonic() + 0.05)
        await batcher.score(engine, [words(7)])

    hurried = asyncio.create_task(late())
    patient = asyncio.create_task(batcher.score(engine, [words(3)]))
    await until(lambda: batcher.waiting_texts == 2 == len(batcher._line))
    await asyncio.sleep(0.06)
    engine.free.set()
    with pytest.raises(DeadlineExceeded, match="nothing was computed"):
        await hurried
    await asyncio.gather(first, patient)
    assert engine.batches == [[1], [3]]
    assert batcher.waiting_texts == 0


async def _ask(edge: Edge, headers: list[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    sent: list[dict[str, object]] = []

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b""}

    await edge({"type": "http", "path": "/x", "headers": headers}, receive, send)
    status, body = sent[0]["status"], sent[1]["body"]
    assert isinstance(status, int)
    assert isinstance(body, bytes)
    return status, body


async def test_the_edge_tells_the_deadline_and_keeps_it() -> None:
    seen: list[float] = []

    async def slow(_: Scope, __: Receive, ___: Send) -> None:
        seen.append(DEADLINE.get() - monotonic())
        await asyncio.sleep(30)

    edge = Edge(slow, Metrics(), timeout_s=20.0, stream_timeout_s=20.0, proxied=False)
    status, body = await _ask(edge, [(b"x-request-timeout", b"0.05")])
    assert (status, b"within 0.05 s" in body) == (504, True)
    assert 0 < seen[0] <= 0.05
    status, body = await _ask(edge, [(b"x-request-timeout", b"never")])
    assert (status, b"invalid_header" in body) == (400, True)
    assert len(seen) == 1
