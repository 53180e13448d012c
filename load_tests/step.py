"""Replicas that rise and fall with load: a quiet step, a busy one, a quiet one, and no request may fail.

::

    python -m load_tests.step --home ~/.hone-bench

Starts ``hone up`` with one to three replicas, sends the steps as closed loops, and watches how many replicas serve. Prints one
JSON object; the exit code is 1 when a request failed or the replicas did not follow the load. The generator has to be faster
than the service, since what is counted is requests at work: locust, which takes milliseconds for each, is not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from load_tests.driving import Load, drive
from load_tests.servers import Server, ensure_champion, hone

TEXTS = ("I am still waiting on my card", "这是一个非常好的产品，我非常喜欢它。", "How do I change my PIN?")
# Short delays, so that a run takes minutes; production wants longer ones.
SETTINGS = {
    "HONE_REPLICAS": "1",
    "HONE_REPLICAS_MAX": "3",
    "HONE_SCALE_TARGET_REQUESTS": "6",
    "HONE_SCALE_UP_DELAY_S": "2",
    "HONE_SCALE_DOWN_DELAY_S": "10",
    "HONE_LEARN_AFTER_CORRECTIONS": "0",
}


@dataclass(frozen=True)
class Step:
    """So many connections that ask without a pause, for so long; ``replicas`` is how many are to serve at its end."""

    connections: int
    duration_s: float
    replicas: range


STEPS = (Step(2, 20.0, range(1, 2)), Step(24, 60.0, range(2, 4)), Step(2, 90.0, range(1, 2)))


class ReplicaWatch(threading.Thread):
    """Asks every second how many replicas serve, until told to end; ``seen`` are seconds since the start and numbers."""

    def __init__(self, server: Server) -> None:
        super().__init__(name="replicas", daemon=True)
        self.seen: list[tuple[float, int]] = []
        self._server = server
        self._ended = threading.Event()

    def run(self) -> None:
        """Watch."""
        began = time.monotonic()
        with self._server.client() as http:
            while not self._ended.wait(1.0):
                try:
                    found: dict[str, Any] = http.get("/v1/status").json()
                except httpx.TransportError:
                    continue
                serving = sum(replica["state"] == "serving" for replica in found["replicas"])
                self.seen.append((round(time.monotonic() - began, 1), serving))

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()
        self.join()


def main() -> int:
    """Run the steps, print what was seen, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="state folder; where it has no model, one is taught")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hone-step-") as folder:
        home = arguments.home or Path(folder) / "home"
        ensure_champion(home, None)
        bodies = Path(folder) / "bodies.jsonl"
        bodies.write_text("".join(json.dumps({"text": text, "top_k": 1}) + "\n" for text in TEXTS))
        with hone(home, Path(folder), SETTINGS) as server:
            report = run_steps(server, bodies, STEPS)
    print(json.dumps(report))
    return 0 if report["followed"] and not report["failed"] else 1


def run_steps(server: Server, bodies: Path, steps: Sequence[Step]) -> dict[str, Any]:
    """Return what the steps came to: requests, failures, and the number of replicas at each step's end and at each change."""
    watch = ReplicaWatch(server)
    watch.start()
    shown = []
    for step in steps:
        load = Load(bodies, step.connections, step.duration_s, warmup_s=0.0, headers=server.headers)
        shown.append(account(step, drive(server.url, load), watch.seen[-1][1]))
    watch.end()
    return conclude(shown, watch.seen) | {"settings": SETTINGS}


def account(step: Step, summary: dict[str, Any], replicas: int) -> dict[str, Any]:
    """Return what ``step`` came to, by the generator's ``summary`` and how many ``replicas`` served at its end."""
    statuses: dict[str, int] = summary["by_status"]
    return {
        "connections": step.connections,
        "requests": sum(statuses.values()),
        "failed": sum(count for status, count in statuses.items() if status != "200"),
        "latency_ms": summary["latency_ms"],
        "replicas": replicas,
        "followed": replicas in step.replicas,
    }


def conclude(shown: Sequence[dict[str, Any]], seen: Sequence[tuple[float, int]]) -> dict[str, Any]:
    """Return the sum of the steps, and when replicas came and went; one step that they did not follow is one too many."""
    return {
        "requests": sum(int(step["requests"]) for step in shown),
        "failed": sum(int(step["failed"]) for step in shown),
        "followed": all(step["followed"] for step in shown),
        "steps": list(shown),
        "changes": [now for before, now in pairwise(seen) if before[1] != now[1]],
    }


if __name__ == "__main__":
    sys.exit(main())
