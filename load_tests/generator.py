"""The load generator, a process of its own.

::

    python -m load_tests.generator --url http://127.0.0.1:8321/v1/predict --bodies bodies.jsonl --connections 32
    python -m load_tests.generator --url … --bodies bodies.jsonl --rate 500

*Closed loop* (no ``--rate``): so many connections, each of which asks again as soon as it was answered. *Open model*
(``--rate``): requests arrive at random (Poisson) at that rate whatever the service does, and latency counts from when a request
was due. A generator that waited for a slow answer before sending the next would leave out just those requests that would have
had to wait (coordinated omission). Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np

from load_tests.http1 import Connection, Reply, render_request
from load_tests.samples import UNANSWERED, Samples

_DRAIN_S = 15.0
_RECONNECT_S = 0.05
# Arrivals are looked for this often; how late they were sent is measured, and part of their latency.
_TICK_S = 0.001

Result = TypeVar("Result")


@dataclass(frozen=True)
class Plan:
    """What to send where, and for how long; ``rate`` None means a closed loop of ``connections``."""

    url: str
    requests: list[bytes]
    duration_s: float
    warmup_s: float = 0.0
    connections: int = 32
    rate: float | None = None
    seed: int = 0


class _Load(ABC):
    """The connections and the notes of one run; times are seconds since the start."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.samples = Samples()
        self._loop = asyncio.get_running_loop()
        self._requests = itertools.cycle(plan.requests)
        self._busy: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # uvloop's own clock ticks in milliseconds.
        self._start = perf_counter()
        self._end_s = plan.warmup_s + plan.duration_s

    @abstractmethod
    async def run(self) -> None:
        """Send, and return when all is answered or given up."""

    @abstractmethod
    def _free(self, connection: Connection) -> None:
        """Use a connection that has nothing to do."""

    @abstractmethod
    def _gone(self, connection: Connection) -> None:
        """Do without a connection that has ended."""

    def _now_s(self) -> float:
        return perf_counter() - self._start

    async def _connect(self) -> Connection:
        parts = urlsplit(self._plan.url)
        _, connection = await self._loop.create_connection(
            lambda: Connection(self._answered, self._lost), parts.hostname or "127.0.0.1", parts.port or 80
        )
        return connection

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, connection: Connection, due_s: float) -> None:
        connection.due_s = due_s
        connection.sent_s = self._now_s()
        self._busy.add(connection)
        connection.send(next(self._requests))

    def _answered(self, connection: Connection, reply: Reply) -> None:
        self._note(connection, reply.status, retry_after=reply.retry_after)
        if not reply.closes:
            self._free(connection)

    def _lost(self, connection: Connection) -> None:
        if connection in self._busy:
            self._note(connection, UNANSWERED)
        self._gone(connection)

    def _note(self, connection: Connection, status: int, *, retry_after: bool = False) -> None:
        self._busy.discard(connection)
        due_s = connection.due_s
        self.samples.add(due_s, self._now_s() - due_s, status, late_s=connection.sent_s - due_s, retry_after=retry_after)

    async def _drain(self) -> None:
        deadline_s = self._now_s() + _DRAIN_S
        while self._busy and self._now_s() < deadline_s:  # noqa: ASYNC110 - an event would cost every request
            await asyncio.sleep(0.01)
        for connection in list(self._busy):
            connection.close()
        # Gives the closed connections their turn to be noted.
        await asyncio.sleep(0.01)


class _ClosedLoop(_Load):
    async def run(self) -> None:
        connections = await asyncio.gather(*(self._connect() for _ in range(self._plan.connections)))
        self._start = perf_counter()
        for connection in connections:
            self._free(connection)
        await asyncio.sleep(self._end_s)
        await self._drain()

    def _free(self, connection: Connection) -> None:
        now_s = self._now_s()
        if now_s < self._end_s:
            self._send(connection, now_s)

    def _gone(self, connection: Connection | None) -> None:  # noqa: ARG002 - a new one takes its place
        # Who was cut off comes back; at once would make a tight loop against a service that refuses connections.
        if self._now_s() < self._end_s:
            self._loop.call_later(_RECONNECT_S, lambda: self._keep(self._come_back()))

    async def _come_back(self) -> None:
        try:
            self._free(await self._connect())
        except OSError:
            self.samples.add(self._now_s(), 0.0, UNANSWERED)
            self._gone(None)


class _OpenModel(_Load):
    def __init__(self, plan: Plan, rate: float) -> None:
        super().__init__(plan)
        random = np.random.default_rng(plan.seed)
        due = np.cumsum(random.exponential(1 / rate, int(1.2 * rate * self._end_s) + 100))
        self._arrivals: deque[float] = deque(due[due < self._end_s].tolist())
        self._idle: list[Connection] = []
        self._unsent: deque[float] = deque()
        self._open = 0

    async def run(self) -> None:
        while self._arrivals:
            while self._arrivals and self._arrivals[0] <= self._now_s():
                self._arrive(self._arrivals.popleft())
            await asyncio.sleep(_TICK_S)
        await self._drain()
        for due_s in self._unsent:
            self.samples.add(due_s, self._now_s() - due_s, UNANSWERED)

    def _arrive(self, due_s: float) -> None:
        if self._idle:
            self._send(self._idle.pop(), due_s)
            return
        self._unsent.append(due_s)
        if self._open < self._plan.connections:
            self._open += 1
            self._keep(self._join())

    async def _join(self) -> None:
        try:
            self._free(await self._connect())
        except OSError:
            self._open -= 1
            if self._unsent:
                due_s = self._unsent.popleft()
                self.samples.add(due_s, self._now_s() - due_s, UNANSWERED)

    def _free(self, connection: Connection) -> None:
        if self._unsent:
            self._send(connection, self._unsent.popleft())
        else:
            self._idle.append(connection)

    def _gone(self, connection: Connection) -> None:
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)


async def drive(plan: Plan) -> Samples:
    """Return what a run of ``plan`` saw, warm-up included.

    Raises:
        OSError: nothing listens there.
    """
    load = _ClosedLoop(plan) if plan.rate is None else _OpenModel(plan, plan.rate)
    await load.run()
    return load.samples


def main() -> None:
    """Run what the command line asks for and print what came of it."""
    options = _options()
    headers = dict(header.split(": ", 1) for header in options.header)
    bodies = options.bodies.read_bytes().splitlines()
    plan = Plan(
        url=options.url,
        requests=[render_request(options.url, body, headers) for body in bodies],
        duration_s=options.duration_s,
        warmup_s=options.warmup_s,
        connections=options.connections,
        rate=options.rate,
        seed=options.seed,
    )
    started_s = process_time()
    samples = run_on_fastest_loop(drive(plan))
    cpu_s = process_time() - started_s
    found: dict[str, Any] = samples.summary(from_s=plan.warmup_s, to_s=plan.warmup_s + plan.duration_s)
    found["generator_cpu_us"] = round(1e6 * cpu_s / max(1, len(samples)), 1)
    if options.csv is not None:
        samples.save(options.csv)
    print(json.dumps(found))


def run_on_fastest_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what ``work`` returns, run on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Send requests, and print what came of them as one JSON object.")
    parser.add_argument("--url", required=True, help="where to POST")
    parser.add_argument("--bodies", required=True, type=Path, help="file with one JSON body per line, sent in turn")
    parser.add_argument("--connections", type=int, default=32, help="connections; with --rate the most there may be")
    parser.add_argument("--rate", type=float, help="requests per second that arrive, whatever the service does")
    parser.add_argument("--duration-s", type=float, default=10.0)
    parser.add_argument("--warmup-s", type=float, default=2.0, help="what is due before counts for nothing")
    parser.add_argument("--seed", type=int, default=0, help="of the arrivals")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'")
    parser.add_argument("--csv", type=Path, help="keep every request here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
