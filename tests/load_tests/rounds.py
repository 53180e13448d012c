"""Results of runs, made by hand, in the shape the benchmark keeps them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

LATENCY = {"mean": 5.0, "p50": 4.0, "p90": 6.0, "p95": 7.0, "p99": 10.0, "p99.9": 11.0, "max": 12.0}


def summary(answered_per_s: float, p50: float = 4.0, failed: int = 0) -> dict[str, Any]:
    """Return what the generator prints."""
    by_status = {"200": 100, **({"500": failed} if failed else {})}
    return {"answered_per_s": answered_per_s, "by_status": by_status, "latency_ms": {**LATENCY, "p50": p50}}


def a_round(number: int = 0, *, singles: float = 60.0, failed: int = 0) -> dict[str, Any]:
    """Return a round: raw engine 100 texts/s and 3 ms, the expert 50/s, ``singles`` of Hone's, 10% padding."""

    def server(rate: float, own_failed: int = 0) -> dict[str, Any]:
        return {
            "singles": summary(rate, failed=own_failed),
            "batches": summary(90 / 32),
            "idle": summary(200, 5.0),
            "tokens": {},
        }

    return {
        "round": number,
        "load_average": 0.1,
        "raw": {"texts_per_s": 100.0, "single_ms": {**LATENCY, "p50": 3.0}},
        "hone": {**server(singles, failed), "tokens": {"text": 900.0, "padding": 100.0}},
        "expert": server(50.0),
    }


def an_overload(folder: Path) -> dict[str, Any]:
    """Return what an overload run saw, with its requests written into ``folder``."""

    def part(p99: float, by_status: dict[str, int], refused: int) -> dict[str, Any]:
        return {
            "requests": sum(by_status.values()),
            "by_status": by_status,
            "latency_ms": {**LATENCY, "p99": p99},
            "refusal_ms": {**LATENCY, "p99": 2.0} if refused else None,
            "refused_with_retry_after": refused,
            "memory_bytes": [1000, 1100],
        }

    for name in ("half", "overload", "after"):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["due_s", "latency_ms", "late_ms", "status", "retry_after"])
            # Just after the overload one is refused; from 2 s on all is well.
            writer.writerows([[0.5, 50, 0, 429, 1], [1.5, 40, 0, 200, 0], [2.5, 8, 0, 200, 0], [3.5, 9, 0, 200, 0]])
    return {
        "capacity_per_s": 100.0,
        "impatient": part(12.0, {"200": 75, "429": 25}, 25),
        "half": part(10.0, {"200": 90}, 0),
        "overload": part(25.0, {"200": 90, "429": 80, "503": 3}, 78),
        "after": part(12.0, {"200": 30}, 0),
        "memory": [(0.0, 1000), (1.0, 1100)],
    }
