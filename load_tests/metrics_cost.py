"""What metrics cost: throughput with them divided by throughput without, in alternating rounds on one replica.

::

    python -m load_tests.metrics_cost --home FOLDER --pairs 150 --slice-s 0.5

FOLDER needs a champion with an encoder; where it has none, one is taught from the data. The replica runs in this process behind
uvicorn, without Ray and its proxy, which count nothing here; store, prediction log and shared files of counters as in a stack.
Hone has no way to be without metrics: here the methods that count are replaced by ones that do nothing, so what is measured is
the counting and not the calls to it. A pair is two slices of one long load, with them and without, in an order drawn by lot;
both meet the same process, engine, callers and neighbours, and no pause lies between. Where neighbours are many, ``cpu_ratio``
says it better: processor time of a request without metrics divided by that with them, which is what throughput comes to where
the processor is all there is. Prints one JSON object; the exit code is 1 when the median of the ratios is below the limit, or
when a request failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from load_tests.driving import Load, drive
from load_tests.profiling import Served, replica
from load_tests.servers import ensure_champion
from load_tests.traffic import read_texts, write_bodies

LEAST_RATIO = 0.98
_CONNECTIONS = 32
_COUNTING = {"Metrics": ("count", "set", "observe", "observe_times"), "Meter": ("add",)}
_ORIGINAL: dict[tuple[str, str], Callable[..., None]] = {}
_DRAWS = 10_000


def main() -> int:
    """Measure, print, and return 1 when the limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pairs", type=int, default=150)
    parser.add_argument("--slice-s", type=float, default=0.5)
    parser.add_argument("--no-engine", action="store_true", help="answer with a constant: the worst case, nothing but serving")
    arguments = parser.parse_args()
    ensure_champion(arguments.home, arguments.data)
    # Before prometheus_client is imported: as in a stack, counters are to live in files.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(arguments.home.resolve() / "metrics" / "measured")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with tempfile.TemporaryDirectory() as folder:
        bodies = Path(folder) / "bodies.jsonl"
        write_bodies(bodies, read_texts(arguments.data), texts_each=1)
        with replica(arguments.home.resolve(), None, engine=not arguments.no_engine) as served:
            httpx.get(f"{served.url}/readyz", trust_env=False).raise_for_status()
            report = measure(served, bodies, arguments.pairs, arguments.slice_s)
    print(json.dumps({**report, "cores": os.cpu_count(), "load_average": os.getloadavg()}, indent=1))
    return 0 if report["ratio"] >= LEAST_RATIO and report["failed"] == 0 else 1


def switch(*, on: bool) -> None:
    """Have all metrics of this process count, or do nothing when they are told to."""
    from core.metric_meter import Meter
    from core.metrics import Metrics

    for kind in (Metrics, Meter):
        for name in _COUNTING[kind.__name__]:
            counting = _ORIGINAL.setdefault((kind.__name__, name), getattr(kind, name))
            setattr(kind, name, counting if on else _nothing)


def _nothing(*_values: object, **_labels: object) -> None:
    """Count nothing."""


def measure(served: Served, bodies: Path, pairs: int, slice_s: float) -> dict[str, Any]:
    """Return throughput and processor time with and without metrics, and how they compare."""
    url = f"{served.url}/v1/predict"
    drive(url, Load(bodies, _CONNECTIONS, duration_s=3.0, warmup_s=0.0))
    pace: dict[bool, list[float]] = {True: [], False: []}
    cost: dict[bool, list[float]] = {True: [], False: []}
    draw = random.Random(0)
    with ThreadPoolExecutor(1) as beside:
        # The callers have to be at work for longer than the slices take.
        load = Load(bodies, _CONNECTIONS, 2 * pairs * slice_s + 2.0, warmup_s=0.0)
        loading = beside.submit(drive, url, load)
        time.sleep(1.0)
        for number in range(pairs):
            order = draw.choice(((True, False), (False, True)))
            for on in order:
                answered_per_s, cpu_us = _slice(served, slice_s, on=on)
                pace[on].append(answered_per_s)
                cost[on].append(cpu_us)
            if (number + 1) % 20 == 0:
                print(f"{number + 1} of {pairs} pairs: {statistics.mean(pace[True]):.0f}/s", file=sys.stderr)
        by_status = loading.result()["by_status"]
    switch(on=True)
    ratios = [with_them / without for with_them, without in zip(pace[True], pace[False], strict=True)]
    spent = [without / with_them for with_them, without in zip(cost[True], cost[False], strict=True)]
    low, high = interval(ratios)
    spent_low, spent_high = interval(spent)
    return {
        "answered_per_s": [round(value, 1) for value in pace[True]],
        "answered_per_s_without": [round(value, 1) for value in pace[False]],
        "ratio": round(statistics.median(ratios), 4),
        "ratio_low": round(low, 4),
        "ratio_high": round(high, 4),
        "limit": LEAST_RATIO,
        "cpu_us_per_request": round(statistics.median(cost[True]), 1),
        "cpu_us_per_request_without": round(statistics.median(cost[False]), 1),
        "cpu_ratio": round(statistics.median(spent), 4),
        "cpu_ratio_low": round(spent_low, 4),
        "cpu_ratio_high": round(spent_high, 4),
        "failed": sum(by_status.values()) - by_status.get("200", 0),
    }


def _slice(served: Served, slice_s: float, *, on: bool) -> tuple[float, float]:
    """Return requests a second, and microseconds of processor time a request, of one slice with metrics or without."""
    switch(on=on)
    requests, cpu_s, began = served.requests(), time.process_time(), time.perf_counter()
    time.sleep(slice_s)
    more = served.requests() - requests
    return more / (time.perf_counter() - began), 1e6 * (time.process_time() - cpu_s) / max(more, 1)


def interval(ratios: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Return the 95% interval of the median, by the bootstrap.

    >>> interval([1.0] * 5)
    (1.0, 1.0)
    """
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(_DRAWS))
    return medians[int(0.025 * _DRAWS)], medians[int(0.975 * _DRAWS)]


if __name__ == "__main__":
    raise SystemExit(main())
