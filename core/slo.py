"""What is promised of answers: how many succeed, how many are fast. Settings say it; alerts are made for it."""

from __future__ import annotations

from dataclasses import dataclass

LATENCY_BUCKETS_S = (0.001, 0.002, 0.004, 0.006, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Bounds of every latency histogram; the latency objective is one of them, so that it is counted and not guessed."""


@dataclass(frozen=True)
class Objectives:
    """``availability_ratio`` of prediction requests end without a server error, ``latency_ratio`` within ``latency_s``."""

    availability_ratio: float
    latency_s: float
    latency_ratio: float


def check_latency(latency_s: float) -> float:
    """Return ``latency_s`` where it is a bound of the histograms.

    >>> check_latency(0.25)
    0.25

    Raises:
        ValueError: it lies between two of them, and nobody could say how many requests took as long at most.
    """
    if latency_s not in LATENCY_BUCKETS_S:
        allowed = ", ".join(f"{bound:g}" for bound in LATENCY_BUCKETS_S)
        raise ValueError(f"{latency_s:g} s is none of the histograms' bounds; allowed are {allowed}")
    return latency_s
