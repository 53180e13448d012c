"""The overload scenario: an open model at half capacity, at twice capacity, and at half capacity again right after.

Then callers who ask again at once when they are refused, begun in the middle of a short overload: once it is over they have to
be let in, though their own refusals look like arrivals.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from load_tests.driving import Load, drive
from load_tests.samples import latency_summary
from load_tests.servers import Server
from load_tests.speed import SINGLE_CONNECTIONS, Say

RECOVERED_WITHIN_S = 2.0
# Refused requests give theirs back at once, so few are needed; that many stand for callers who do not wait for each other.
_MOST_CONNECTIONS = 4_000


@dataclass(frozen=True)
class OverloadPlan:
    """How long each part lasts, in seconds; ``folder`` takes every request as CSV."""

    bodies: Path
    folder: Path
    half_s: float = 30.0
    overload_s: float = 60.0
    after_s: float = 15.0


class MemoryWatch:
    """Notes a server's resident memory every second inside the block."""

    def __init__(self, server: Server) -> None:
        self.readings: list[tuple[float, int]] = []
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        began = time.monotonic()
        while True:
            self.readings.append((round(time.monotonic() - began, 2), self._server.memory_bytes()))
            if self._ended.wait(1.0):
                return


def run_overload(server: Server, plan: OverloadPlan, say: Say) -> dict[str, Any]:
    """Return what was seen in each part; capacity is what a closed loop of 32 connections reaches right before."""
    closed = Load(plan.bodies, SINGLE_CONNECTIONS, min(10.0, plan.half_s), headers=server.headers)
    capacity = float(drive(server.url, closed)["answered_per_s"])
    say(f"capacity {capacity:.0f}/s")
    found: dict[str, Any] = {"capacity_per_s": capacity}
    with MemoryWatch(server) as memory:
        for number, (name, factor, duration_s) in enumerate(
            (("half", 0.5, plan.half_s), ("overload", 2.0, plan.overload_s), ("after", 0.5, plan.after_s))
        ):
            load = Load(
                plan.bodies,
                _MOST_CONNECTIONS,
                duration_s,
                # What comes right after the overload is what shows how long it is felt.
                warmup_s=0.0 if name == "after" else 2.0,
                rate=factor * capacity,
                seed=number,
                csv=plan.folder / f"{name}.csv",
                headers=server.headers,
            )
            before = server.memory_bytes()
            found[name] = drive(server.url, load)
            found[name]["memory_bytes"] = [before, server.memory_bytes()]
            say(f"{name}: {found[name]['by_status']}, p99 {(found[name]['latency_ms'] or {}).get('p99')} ms")
    found["memory"] = memory.readings
    found["recovered"] = after_recovery(plan.folder / "after.csv")
    found["impatient"] = run_impatient(server, plan, capacity)
    say(f"callers with no patience: {found['impatient']['by_status']}")
    return found


def run_impatient(server: Server, plan: OverloadPlan, capacity: float) -> dict[str, Any]:
    """Return what callers saw who ask again at once, for ``after_s``, twice ``after_s`` after the overload ended."""
    half_s = plan.after_s
    overload = Load(plan.bodies, _MOST_CONNECTIONS, half_s, rate=2.0 * capacity, headers=server.headers)
    callers = Load(plan.bodies, SINGLE_CONNECTIONS, half_s, warmup_s=3.0 * half_s, headers=server.headers)
    with ThreadPoolExecutor(1) as beside:
        overloading = beside.submit(drive, server.url, overload)
        found = drive(server.url, callers)
        found["overload"] = overloading.result()["by_status"]
    return found


def after_recovery(requests: Path) -> dict[str, Any]:
    """Return what became of the requests due once the overload had been over for ``RECOVERED_WITHIN_S``."""
    frame = pd.read_csv(requests)
    frame = frame[frame.due_s >= RECOVERED_WITHIN_S]
    right = frame.status == 200
    return {"refused": int((~right).sum()), "latency_ms": latency_summary((frame.latency_ms[right] / 1e3).to_numpy())}


def overload_figures(found: dict[str, Any]) -> dict[str, float]:
    """Return the figures by the names of the bars."""
    half, overload, recovered = found["half"], found["overload"], found["recovered"]
    p99_ms = half["latency_ms"]["p99"]
    counts = overload["by_status"]
    proper = counts.get("200", 0) + overload["refused_with_retry_after"]
    accepted, refused = overload["latency_ms"], overload["refusal_ms"]
    after = recovered["latency_ms"]
    before_bytes, end_bytes = found["overload"]["memory_bytes"]
    figures = {
        "overload_p99_ratio": accepted["p99"] / p99_ms if accepted else float("inf"),
        "overload_other_statuses": float(overload["requests"] - proper),
        "recovery_p99_ratio": after["p99"] / p99_ms if after else float("inf"),
        "recovery_refused": float(recovered["refused"]),
        "memory_growth_ratio": end_bytes / before_bytes,
        "impatient_refused_ratio": 1.0 - found["impatient"]["by_status"].get("200", 0) / max(found["impatient"]["requests"], 1),
    }
    if refused is not None:
        figures["refusal_p99_ratio"] = refused["p99"] / p99_ms
    return figures
