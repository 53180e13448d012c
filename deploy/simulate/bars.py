"""What must hold of a simulation's outcome: each bar with its value, its limit and what it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from deploy.simulate.records import StepRecord

Records = Mapping[str, Sequence[StepRecord]]
ORACLES = ("oracle", "oracle-head")


class Bar(BaseModel):
    """A bar, and whether it was reached."""

    model_config = ConfigDict(frozen=True)

    name: str
    strategy: str
    value: float | None = Field(description="None where there is nothing to compare.")
    limit: float
    sense: Literal["at least", "at most"]
    reached: bool
    why: str


def bar(name: str, strategy: str, value: float | None, sense: Literal["at least", "at most"], limit: float, why: str) -> Bar:
    """Return the bar with its verdict; what cannot be computed is not reached."""
    # Half a thousandth of leave, for the rounding of ratios.
    met = value is not None and (value >= limit - 1e-9 if sense == "at least" else value <= limit + 1e-9)
    rounded = None if value is None else round(value, 6)
    return Bar(name=name, strategy=strategy, value=rounded, limit=limit, sense=sense, reached=met, why=why)


def prequential(records: Sequence[StepRecord]) -> float:
    """Return the share of all answers that were right."""
    return sum(record.right for record in records) / max(1, sum(record.rows for record in records))


def train_s(records: Sequence[StepRecord]) -> tuple[float, float]:
    """Return wall and processor seconds of all runs."""
    runs = [record.run for record in records if record.run is not None]
    return sum(run.wall_s for run in runs), sum(run.cpu_s for run in runs)


def best_oracle(records: Records) -> str | None:
    """Return the name of the oracle that answered best, None where there is none."""
    found = [name for name in ORACLES if records.get(name)]
    return max(found, key=lambda name: prequential(records[name])) if found else None


def recovery(records: Records, strategy: str, *, gain: float = 0.9, time: float = 0.2) -> list[Bar]:
    """Return how much of the oracle's gain over frozen a strategy has, and for how much of its training time."""
    oracle = best_oracle(records)
    if oracle is None or "frozen" not in records:
        return [bar("recovered_gain", strategy, None, "at least", gain, "needs the strategies frozen and oracle")]
    frozen, best, own = (prequential(records[name]) for name in ("frozen", oracle, strategy))
    share = (own - frozen) / (best - frozen) if best > frozen else (inf if own >= frozen else -inf)
    wall, cpu = train_s(records[strategy])
    _, oracle_cpu = train_s(records[oracle])
    why = f"frozen {frozen:.4f}, {strategy} {own:.4f}, {oracle} {best:.4f} of all answers were right"
    cost = f"{cpu:.0f} processor seconds ({wall:.0f} s by the wall) against {oracle_cpu:.0f} of {oracle}"
    return [
        bar("recovered_gain", strategy, share if abs(share) < inf else None, "at least", gain, why),
        bar("training_time", strategy, cpu / oracle_cpu if oracle_cpu else None, "at most", time, cost),
    ]


def promotions_are_no_worse(records: Records, strategy: str, test: str) -> list[Bar]:
    """Return whether any promoted version is worse than the one it replaced, on fixed rows that nobody learned from."""
    falls = [
        (record.tests_before[test] - record.tests[test], record.name)
        for record in records[strategy]
        if record.version_after != record.version and test in record.tests_before
    ]
    worst, where = max(falls, default=(0.0, "none"))
    worse = sum(fall > 0 for fall, _ in falls)
    which = f"; the worst by {worst:.4f}, at {where}" if worse else ""
    why = f"{worse} of {len(falls)} changes of version made it worse on the fixed rows {test}{which}"
    return [bar("worse_promotions", strategy, float(worse), "at most", 0.0, why)]


def needless_full_runs(records: Records, strategy: str, most: int = 2) -> list[Bar]:
    """Return how many runs at full speed there were, where nothing called for any."""
    runs = [record.run for record in records[strategy] if record.run is not None]
    count = sum(run.trained == "full" for run in runs)
    return [bar("full_runs", strategy, float(count), "at most", float(most), f"of {len(runs)} runs, where nothing changed")]


def forgetting(records: Records, strategy: str, tests: Sequence[str], most: float = 0.01) -> list[Bar]:
    """Return the most that any of the fixed sets lost since its own step; ``tests`` name those sets, by steps in order."""
    own = {record.name: record.tests for record in records[strategy]}
    first, last = records[strategy][0].tests_before, records[strategy][-1].tests
    # What was taught first is there from the beginning, the others from the end of their own step.
    losses = [(own.get(test, first)[test] - last[test], test) for test in tests if test in own.get(test, first)]
    worst, where = max(losses, default=(0.0, "none"))
    why = f"the most that one of {len(losses)} sets lost between its own step and the end: {worst:.4f}, {where}"
    return [bar("forgotten", strategy, worst if losses else None, "at most", most, why)]


def learned(records: Records, strategy: str, tests: Sequence[str]) -> list[Bar]:
    """Return the least that the fixed rows of a stage gained by the stage itself."""
    gains = [
        (record.tests[record.name] - record.tests_before[record.name], record.name)
        for record in records[strategy]
        if record.name in tests and record.name in record.tests_before
    ]
    worst, where = min(gains, default=(0.0, "none"))
    why = f"the least that one of {len(gains)} new sets gained in its own step: {worst:+.4f}, {where}"
    return [bar("gained", strategy, worst if gains else None, "at least", 0.0, why)]
