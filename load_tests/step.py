"""Replicas that rise and fall with load: a quiet step, a busy one, a quiet one, and no request may fail.

::

    python -m load_tests.step --home ~/.hone-bench

Starts ``hone up`` with one to three replicas, has locust send the steps (this file is its locustfile, too), and watches how
many replicas serve. Prints one JSON object; the exit code is 1 when a request failed or the replicas did not follow the load.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
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
from locust import HttpUser, LoadTestShape, constant, task

from load_tests.servers import Server, ensure_champion, hone

# Seconds since the start until which so many connections ask.
STEPS = ((20, 2), (80, 24), (170, 2))
# Short delays, so that a run takes minutes; production wants longer ones.
SETTINGS = {
    "HONE_REPLICAS": "1",
    "HONE_REPLICAS_MAX": "3",
    "HONE_SCALE_TARGET_REQUESTS": "6",
    "HONE_SCALE_UP_DELAY_S": "2",
    "HONE_SCALE_DOWN_DELAY_S": "10",
    "HONE_LEARN_AFTER_CORRECTIONS": "0",
}


class Steps(LoadTestShape):
    """The load as locust asks for it."""

    def tick(self) -> tuple[int, float] | None:
        """Return how many users there are to be, and how many may come in a second; None ends the run."""
        now = self.get_run_time()  # type: ignore[no-untyped-call] # untyped there
        return next(((users, 24.0) for until, users in STEPS if now < until), None)


class Asker(HttpUser):
    """One connection that asks again as soon as it was answered."""

    wait_time = constant(0)

    @task
    def ask(self) -> None:
        """Ask about one text."""
        self.client.post("/v1/predict", json={"text": "I am still waiting on my card", "top_k": 1}, headers=_headers())


def _headers() -> dict[str, str]:
    from core.settings import Settings

    key = Settings().api_key
    return {"authorization": f"Bearer {key}"} if key else {}


@dataclass(frozen=True)
class Seen:
    """How many replicas served ``at_s`` seconds after the load began."""

    at_s: float
    replicas: int


class ReplicaWatch(threading.Thread):
    """Asks every second how many replicas serve, until told to end."""

    def __init__(self, server: Server) -> None:
        super().__init__(name="replicas", daemon=True)
        self.seen: list[Seen] = []
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
                self.seen.append(Seen(round(time.monotonic() - began, 1), serving))

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
        with hone(home, Path(folder), SETTINGS) as server:
            watch = ReplicaWatch(server)
            watch.start()
            stats = _locust(server)
            watch.end()
    report = summary(stats, watch.seen)
    print(json.dumps(report))
    return 0 if report["followed"] and not report["failed"] else 1


def _locust(server: Server) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "locust", "-f", __file__, "--headless", "--json", "--host", server.base]
    key = server.headers["authorization"].removeprefix("Bearer ")
    done = subprocess.run(
        [*command, "--only-summary", "--loglevel", "WARNING"],
        env={**_environment(), "HONE_API_KEY": key},
        stdout=subprocess.PIPE,
        check=False,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


def summary(stats: Sequence[dict[str, Any]], seen: Sequence[Seen]) -> dict[str, Any]:
    """Return the report: requests, failures, and the most and the last number of replicas in each step."""
    bounds = [0.0, *(float(until) for until, _ in STEPS)]
    steps = []
    for (until, users), start in zip(STEPS, bounds, strict=False):
        inside = [item.replicas for item in seen if start <= item.at_s < until]
        steps.append({"users": users, "until_s": until, "most": max(inside, default=0), "last": inside[-1] if inside else 0})
    quiet, busy, after = steps
    changes = [(now.at_s, now.replicas) for before, now in pairwise(seen) if before.replicas != now.replicas]
    return {
        "requests": sum(item["num_requests"] for item in stats),
        "failed": sum(item["num_failures"] for item in stats),
        "steps": steps,
        "changes": changes,
        "followed": quiet["last"] == 1 and busy["last"] > 1 and after["last"] == 1,
        "settings": SETTINGS,
    }


if __name__ == "__main__":
    sys.exit(main())
