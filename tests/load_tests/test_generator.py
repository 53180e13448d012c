"""The generator against small servers whose behaviour is known."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from load_tests.generator import Plan, drive
from load_tests.http1 import render_request
from load_tests.samples import UNANSWERED, Samples

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\n{}"
GOODBYE = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"

Answer = Callable[[], Awaitable[bytes]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """Answer every request with what ``answer`` says; nothing ends the connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
                said = await answer()
                writer.write(said)
                if not said or b"close" in said:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def statuses(samples: Samples) -> dict[str, int]:
    found: dict[str, int] = samples.summary(from_s=0, to_s=1e9)["by_status"]
    return found


def plan(url: str, **changed: float) -> Plan:
    return Plan(**{"url": url, "requests": [render_request(url, b"{}")], "duration_s": 0.3, **changed})  # type: ignore[arg-type]


async def test_a_closed_loop_asks_again_once_it_is_answered() -> None:
    at_work = most = 0

    async def answer() -> bytes:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.001)
        at_work -= 1
        return OK

    async with serving(answer) as url:
        samples = await drive(plan(url, connections=4))
    assert set(statuses(samples)) == {"200"}
    assert len(samples) > 4
    assert most <= 4


async def test_refusals_are_told_apart() -> None:
    turn = itertools.cycle([OK, REFUSED])

    async def answer() -> bytes:
        return next(turn)

    async with serving(answer) as url:
        found = (await drive(plan(url, connections=1))).summary(from_s=0, to_s=1e9)
    assert found["by_status"]["429"] == found["refused_with_retry_after"] > 0
    assert abs(found["by_status"]["200"] - found["by_status"]["429"]) <= 1


@pytest.mark.parametrize("rate", [None, 200.0])
async def test_a_connection_that_ends_is_replaced(rate: float | None) -> None:
    turn = itertools.cycle([GOODBYE, b""])

    async def answer() -> bytes:
        return next(turn)

    async with serving(answer) as url:
        found = statuses(await drive(plan(url, connections=2, rate=rate)))  # type: ignore[arg-type]
    assert found["200"] > 2, "answers came after a connection had ended"
    assert found[str(UNANSWERED)] > 0, "what a broken connection leaves unanswered is counted"


async def test_arrivals_do_not_wait_for_answers_and_their_waiting_counts() -> None:
    """One connection, a service that answers nothing until all has arrived: a closed loop would have sent one request."""
    released = asyncio.Event()
    asyncio.get_running_loop().call_later(0.35, released.set)

    async def answer() -> bytes:
        await released.wait()
        return OK

    async with serving(answer) as url:
        samples = await drive(plan(url, connections=1, rate=100.0, seed=3))
    found = samples.summary(from_s=0, to_s=0.3)
    assert found["by_status"] == {"200": len(samples)}
    assert len(samples) > 10
    # The first waited for the release, those behind it were sent late, and that is part of what they waited.
    assert found["generator_late_ms"]["max"] > 0
    assert found["latency_ms"]["p50"] > found["generator_late_ms"]["p50"] > 0


async def test_arrivals_are_those_of_the_seed() -> None:
    async def answer() -> bytes:
        return OK

    async with serving(answer) as url:
        first, again, other = [await drive(plan(url, connections=50, rate=300.0, seed=seed)) for seed in (1, 1, 2)]
    assert len(first) == len(again)
    assert sorted(first.due_s()) == sorted(again.due_s()) != sorted(other.due_s())


async def test_where_nothing_listens_is_an_error() -> None:
    async with serving(lambda: asyncio.sleep(0, OK)) as url:
        pass
    with pytest.raises(OSError, match=r"refused|failed"):
        await drive(plan(url))
