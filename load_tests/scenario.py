"""A scenario of traffic and what has to be kept under it, as ``scenarios.toml`` says; what came of one, judged."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from load_tests.bars import Bar, Verdict

FILE = Path(__file__).parent / "scenarios.toml"
MEANINGS = {
    "failed_ratio": "share of requests that failed",
    "torn_answers": "answers of a version that was not there, or of two versions",
    "p95_ms": "95th percentile of accepted predictions of one text, ms",
    "batch_p95_ms": "95th percentile of accepted predictions of 32 texts, ms",
    "memory_growth_ratio": "growth of the processes' memory after the first quarter",
    "open_files_growth_ratio": "growth of open files after the first quarter",
}


class Scenario(BaseModel):
    """One scenario; see the head of ``scenarios.toml`` for what each field means."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    meaning: str
    stages: list[tuple[PositiveFloat, int]] = Field(min_length=1)
    tasks: dict[str, float]
    rate_per_caller: PositiveFloat | None = None
    refusals: bool = False
    rollback_every_s: PositiveFloat | None = None
    learn_every_s: PositiveFloat | None = None
    keep: dict[str, float]

    @property
    def duration_s(self) -> float:
        """How long it takes."""
        return sum(seconds for seconds, _ in self.stages)

    def callers(self, at_s: float) -> tuple[int, float] | None:
        """Return how many callers there are to be, and how many come or go a second; None when it is over.

        >>> ramp = Scenario(meaning="", stages=[(10, 20), (5, 0)], tasks={}, keep={})
        >>> ramp.callers(3.0), ramp.callers(12.0), ramp.callers(15.0)
        ((20, 2.0), (0, 4.0), None)
        """
        before, began_s = 0, 0.0
        for seconds, callers in self.stages:
            if at_s < began_s + seconds:
                # A stage that keeps the number, or begins, does so within a second.
                steps = abs(callers - before)
                return callers, max(steps / seconds, 0.1) if len(self.stages) > 1 else float(max(callers, 1))
            before, began_s = callers, began_s + seconds
        return None

    def scaled(self, factor: float) -> Scenario:
        """Return the same in ``factor`` of the time, and with as many callers, for trying it out."""

        def shorter(value: float | None) -> float | None:
            return None if value is None else value * factor

        return self.model_copy(
            update={
                "stages": [(seconds * factor, callers) for seconds, callers in self.stages],
                "rollback_every_s": shorter(self.rollback_every_s),
                "learn_every_s": shorter(self.learn_every_s),
            }
        )


def read_scenarios(path: Path = FILE) -> dict[str, Scenario]:
    """Return the scenarios by name."""
    return {name: Scenario.model_validate(body) for name, body in tomllib.loads(path.read_text(encoding="utf-8")).items()}


def judge(scenario: Scenario, seen: Mapping[str, float | None]) -> list[Verdict]:
    """Return a verdict for each limit; what was not seen was not kept."""
    bars = [Bar(name, MEANINGS[name], "at most", limit) for name, limit in scenario.keep.items()]
    return [Verdict(bar, seen.get(bar.figure)) for bar in bars]


def growth(samples: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Return by how much ``name`` grew from the second quarter to the last one, as a share of medians.

    >>> growth([{"x": value} for value in (9, 9, 10, 10, 11, 11, 11, 11)], "x")
    0.1
    >>> growth([], "x") is None
    True
    """
    values = [float(sample[name]) for sample in samples if sample.get(name) is not None]
    quarter = len(values) // 4
    if quarter == 0:
        return None
    first, last = sorted(values[quarter : 2 * quarter]), sorted(values[-quarter:])
    return round(last[len(last) // 2] / first[len(first) // 2] - 1.0, 6)


def samples_of(text: str, names: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Yield the sums of the metrics ``names`` (what to call each, by its name) in Prometheus's text format.

    >>> dict(samples_of('a{x="1"} 2\\na{x="2"} 3\\nab 4\\n# HELP a', {"a": "both"}))
    {'both': 5.0}
    """
    for metric, called in names.items():
        lines = [line for line in text.splitlines() if line.startswith((f"{metric}{{", f"{metric} "))]
        if lines:
            yield called, sum(float(line.rsplit(" ", 1)[1]) for line in lines)
