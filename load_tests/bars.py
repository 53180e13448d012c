"""What is asked of the figures: every limit of the serving benchmark, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Bar:
    """A limit on one figure."""

    figure: str
    meaning: str
    side: Literal["at least", "at most"]
    limit: float

    def holds(self, value: float) -> bool:
        """Return whether ``value`` keeps it."""
        return value >= self.limit if self.side == "at least" else value <= self.limit


BARS = (
    Bar("batches_to_raw", "batches of 32 texts ÷ raw engine, texts/s", "at least", 0.85),
    Bar("singles_to_raw", "single texts, 32 connections ÷ raw engine", "at least", 0.50),
    Bar("singles_to_expert", "single texts, 32 connections ÷ the expert's server", "at least", 1.0),
    Bar("singles_to_plain_ray", "single texts, 32 connections ÷ plain Ray Serve", "at least", 50.0),
    Bar("idle_overhead_ms", "one connection: p50 - raw engine's p50 of one text, ms", "at most", 3.0),
    Bar("padding_ratio", "tokens spent on padding at full load", "at most", 0.05),
    Bar("failed_requests", "requests not answered with 200 in all of the above", "at most", 0.0),
    Bar("overload_p99_ratio", "2x capacity: p99 of what is accepted ÷ p99 at half capacity", "at most", 3.0),
    Bar(
        "overload_other_statuses", "2x capacity: requests neither answered nor refused with 429 and Retry-After", "at most", 0.0
    ),
    Bar("refusal_p99_ratio", "2x capacity: p99 of a refusal ÷ p99 of an answer at half capacity", "at most", 1.0),
    Bar("recovery_p99_ratio", "from 2 s after overload on: p99 ÷ p99 at half capacity", "at most", 1.5),
    Bar("recovery_refused", "from 2 s after overload on: requests not answered", "at most", 0.0),
    Bar("impatient_refused_ratio", "callers who ask again at once, after an overload: share not answered", "at most", 0.0),
    Bar("memory_growth_ratio", "resident memory at the end of overload ÷ before", "at most", 1.25),
)


@dataclass(frozen=True)
class Verdict:
    """A bar and what was measured; ``value`` None was not measured in this run."""

    bar: Bar
    value: float | None

    @property
    def kept(self) -> bool | None:
        """Whether the bar holds; None where nothing was measured."""
        return None if self.value is None else self.bar.holds(self.value)


def judge(figures: Mapping[str, float], bars: Sequence[Bar] = BARS) -> list[Verdict]:
    """Return a verdict on each bar.

    >>> [verdict.kept for verdict in judge({"padding_ratio": 0.04}) if verdict.value is not None]
    [True]

    Raises:
        ValueError: a figure has no bar, so nobody would notice when it gets worse.
    """
    unknown = figures.keys() - {bar.figure for bar in bars}
    if unknown:
        raise ValueError(f"no bar for {', '.join(sorted(unknown))}")
    return [Verdict(bar, figures.get(bar.figure)) for bar in bars]
