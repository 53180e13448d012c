"""What a run of the load generator saw, request by request, and what that comes to."""

from __future__ import annotations

import csv
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
# Stands for a status where no answer came: the connection broke, or the run ended first.
UNANSWERED = 0


class Samples:
    """Requests by when they were due (seconds since the start), how long their answer took from then on, and its status."""

    def __init__(self) -> None:
        self._due_s = array("d")
        self._latency_s = array("d")
        self._late_s = array("d")
        self._status = array("H")
        self._retry_after = array("b")

    def __len__(self) -> int:
        return len(self._due_s)

    def add(self, due_s: float, latency_s: float, status: int, *, late_s: float = 0.0, retry_after: bool = False) -> None:
        """Note one request; ``late_s`` is how much later than due the generator sent it, and is part of ``latency_s``."""
        self._due_s.append(due_s)
        self._latency_s.append(latency_s)
        self._late_s.append(late_s)
        self._status.append(status)
        self._retry_after.append(retry_after)

    def due_s(self) -> list[float]:
        """Return when each request was due, in the order of their ends."""
        return self._due_s.tolist()

    def summary(self, *, from_s: float, to_s: float) -> dict[str, Any]:
        """Return what the requests due in ``[from_s, to_s)`` come to; latencies are those of status 200, in milliseconds."""
        due = np.frombuffer(self._due_s) if len(self) else np.empty(0)
        taken = (due >= from_s) & (due < to_s)
        status = np.array(self._status, dtype=np.int64)[taken]
        latency = np.array(self._latency_s)[taken]
        refused = status == 429
        told = np.array(self._retry_after, dtype=bool)[taken]
        return {
            "requests": int(taken.sum()),
            "window_s": to_s - from_s,
            "by_status": {str(code): count for code, count in sorted(Counter(status.tolist()).items())},
            "refused_with_retry_after": int((refused & told).sum()),
            "answered_per_s": self._answered_within(from_s, to_s) / (to_s - from_s),
            "latency_ms": latency_summary(latency[status == 200]),
            "refusal_ms": latency_summary(latency[refused]),
            "generator_late_ms": latency_summary(np.array(self._late_s)[taken]),
        }

    def save(self, path: Path) -> None:
        """Write a CSV row per request, in order of being due."""
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["due_s", "latency_ms", "late_ms", "status", "retry_after"])
            for place in np.argsort(np.array(self._due_s), kind="stable").tolist():
                times = (self._due_s[place], 1e3 * self._latency_s[place], 1e3 * self._late_s[place])
                writer.writerow([*(round(value, 4) for value in times), self._status[place], self._retry_after[place]])

    def _answered_within(self, from_s: float, to_s: float) -> int:
        # By when the answer came: in a closed loop those sent before the window make up for those it cuts off at its end.
        ends = np.array(self._due_s) + np.array(self._latency_s)
        right = np.array(self._status, dtype=np.int64) == 200
        return int((right & (ends >= from_s) & (ends < to_s)).sum())


def latency_summary(latency_s: Sequence[float] | NDArray[np.float64]) -> dict[str, float] | None:
    """Return mean, percentiles and maximum in milliseconds, or None of nothing.

    A percentile is the smallest value that at least so many per cent of the requests did not exceed.

    >>> latency_summary([0.001, 0.002, 0.003, 0.1])["p50"]
    2.0
    """
    values = 1e3 * np.asarray(latency_s, dtype=np.float64)
    if not len(values):
        return None
    points = np.percentile(values, PERCENTILES, method="inverted_cdf")
    named = {f"p{point:g}": round(float(value), 4) for point, value in zip(PERCENTILES, points, strict=True)}
    return {"mean": round(float(values.mean()), 4), **named, "max": round(float(values.max()), 4)}
