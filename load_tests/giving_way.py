"""Whether training gives way to serving: the p99 of predictions at half load, with a full run on the same cores and without.

::

    python -m load_tests.giving_way --home FOLDER --data train.csv --rounds 3

FOLDER needs a champion with an encoder; where it has none, one is taught from the data. The service learns in a copy of it. A
round measures without training, then with a full run at work (once it is fine-tuning), then stops the run; so both kinds of
window meet the same machine. Capacity is what a closed loop of 32 connections reaches at the beginning; half load is an open
model at half of that. Prints one JSON object; the exit code is 1 when the ratio of the medians is above the limit, when
a request failed, or when a run was not at work for the whole of its window.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from core.registries import registry_of
from core.settings import Settings
from feedback.snapshot import Snapshot
from load_tests.driving import Load, drive
from load_tests.servers import Server, ensure_champion, hone

MOST_RATIO = 2.0
_CONNECTIONS = 32
_CAPACITY_S = 10.0
_TEXTS = 2_000
_STARTS_WITHIN_S = 600.0
_STOPS_WITHIN_S = 120.0


def main() -> int:
    """Measure, print, and return 1 when the limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window-s", type=float, default=20.0)
    arguments = parser.parse_args()
    ensure_champion(arguments.home, arguments.data)
    with tempfile.TemporaryDirectory(prefix="hone-giving-way-") as folder:
        home = Path(folder) / "home"
        shutil.copytree(arguments.home, home, ignore=shutil.ignore_patterns("metrics", "*.lock"))
        bodies = _bodies(home, Path(folder) / "bodies.jsonl")
        settings = {"HONE_LEARN_AFTER_CORRECTIONS": "0", "HONE_LEARN_BACK_OFF_S": "0"}
        with hone(home, Path(folder), settings) as server:
            report = measure(server, bodies, arguments.rounds, arguments.window_s)
    print(json.dumps({**report, "cores": os.cpu_count(), "load_average": os.getloadavg()}, indent=1))
    return 0 if report["ratio"] <= MOST_RATIO and report["failed"] == 0 and report["trained_throughout"] else 1


def measure(server: Server, bodies: Path, rounds: int, window_s: float) -> dict[str, Any]:
    """Return p99 in both kinds of window, in milliseconds, and how they compare."""
    capacity = drive(server.url, Load(bodies, _CONNECTIONS, _CAPACITY_S, headers=server.headers))["answered_per_s"]
    load = Load(bodies, _CONNECTIONS * 4, window_s, rate=capacity / 2, headers=server.headers)
    alone: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []
    throughout = True
    paces = []
    with server.client() as http:
        for number in range(rounds):
            alone.append(drive(server.url, load))
            run_id = _start_full_run(http)
            beside.append(drive(server.url, load))
            run = http.get(f"/v1/runs/{run_id}").raise_for_status().json()
            throughout = throughout and run["state"] == "running" and run["stage"] == "finetune"
            paces.append(run["metrics"].get("examples_per_s"))
            _stop(http, run_id)
            print(f"round {number + 1} of {rounds}: {_p99_ms(alone[-1])} ms, {_p99_ms(beside[-1])} ms", file=sys.stderr)
    before, during = [_p99_ms(found) for found in alone], [_p99_ms(found) for found in beside]
    return {
        "requests_per_s": capacity / 2,
        "p99_alone_ms": before,
        "p99_beside_training_ms": during,
        "ratio": statistics.median(during) / statistics.median(before),
        "limit": MOST_RATIO,
        "failed": sum(_failed(found) for found in (*alone, *beside)),
        "trained_throughout": throughout,
        "training_examples_per_s": paces,
    }


def _bodies(home: Path, path: Path) -> Path:
    settings = Settings.model_validate({"HONE_HOME": home})
    lineage = registry_of(settings).manifest("champion").lineage
    examples = Snapshot.load(settings.home.snapshots, lineage.snapshot).of_split("test")[:_TEXTS]
    path.write_text("".join(json.dumps({"text": example.text}) + "\n" for example in examples), encoding="utf-8")
    return path


def _start_full_run(http: httpx.Client) -> str:
    """Return a run that is fine-tuning now.

    Raises:
        SystemExit: it ended before, or did not get so far.
    """
    run_id = str(http.post("/v1/runs", json={"speed": "full"}).raise_for_status().json()["run_id"])
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < deadline:
        run = http.get(f"/v1/runs/{run_id}").raise_for_status().json()
        if run["state"] not in ("queued", "running"):
            raise SystemExit(f"the run {run['state']} before it could be measured beside: {run['error']}")
        if run["stage"] == "finetune":
            return run_id
        time.sleep(0.5)
    raise SystemExit(f"no run was fine-tuning within {_STARTS_WITHIN_S:g} s")


def _stop(http: httpx.Client, run_id: str) -> None:
    http.delete(f"/v1/runs/{run_id}")
    deadline = time.monotonic() + _STOPS_WITHIN_S
    while http.get(f"/v1/runs/{run_id}").raise_for_status().json()["state"] in ("queued", "running"):
        if time.monotonic() > deadline:
            raise SystemExit(f"the run did not stop within {_STOPS_WITHIN_S:g} s")
        time.sleep(0.5)


def _p99_ms(found: dict[str, Any]) -> float:
    return round(float(found["latency_ms"]["p99"]), 2)


def _failed(found: dict[str, Any]) -> int:
    return sum(count for status, count in found["by_status"].items() if status != "200")


if __name__ == "__main__":
    raise SystemExit(main())
