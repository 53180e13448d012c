"""The gate: may a candidate take the champion's place? Every rule says its value, its limit, its verdict and why.

A candidate is promoted when no rule forbids it and there is evidence for it: a significant gain on the holdout, or
significantly many corrected answers put right. The two kinds of evidence share ``alpha`` (Bonferroni), so equal models pass at
most as often as ``alpha`` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

IntVector = NDArray[np.int64]


class Rule(BaseModel):
    """One question the gate asks."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: float
    limit: float
    kind: Literal["required", "evidence"] = Field(description="`required` must pass; of the `evidence` rules one must.")
    passed: bool
    why: str


class GateDecision(BaseModel):
    """What the gate decided, rule by rule."""

    model_config = ConfigDict(frozen=True)

    promote: bool
    summary: str
    champion: str | None
    rules: list[Rule]


@dataclass(frozen=True)
class GateLimits:
    """The settings of the gate; see ``core.settings`` for their meaning."""

    min_rows: int = 50
    alpha: float = 0.05
    max_loss_ratio: float = 0.005
    max_class_loss_ratio: float = 0.10
    max_negative_flip_ratio: float = 0.05
    min_parity_ratio: float = 0.99


@dataclass(frozen=True)
class Answers:
    """The same rows answered by both models: ``truth``, ``champion`` and ``candidate`` are label indices (n,).

    An index of -1 stands for a label the model does not know.
    """

    truth: IntVector
    champion: IntVector
    candidate: IntVector

    @property
    def flips(self) -> tuple[int, int]:
        """How many rows the candidate puts right, and how many it puts wrong."""
        before, after = self.champion == self.truth, self.candidate == self.truth
        return int((~before & after).sum()), int((before & ~after).sum())


def mcnemar(better: int, worse: int) -> float:
    """Return the one-sided p-value that ``better`` wins out of ``better + worse`` discordant rows are mere chance.

    The exact (binomial) form of McNemar's test (McNemar 1947, Psychometrika 12).

    >>> mcnemar(5, 0)
    0.03125
    """
    # Costs a second to import, which every start of a replica or a command would pay.
    from scipy.stats import binomtest

    total = better + worse
    return float(binomtest(better, total, 0.5, alternative="greater").pvalue) if total else 1.0


def decide(
    holdout: Answers, corrections: Answers, *, labels: list[str], parity_ratio: float, champion: str, limits: GateLimits
) -> GateDecision:
    """Return the decision on a candidate that was compared with ``champion`` on the rows of both.

    Args:
        holdout: rows no model was ever trained on.
        corrections: corrections the champion has not learned from. The candidate may have, so this rule asks whether it does
            what people asked for; it is never reported as quality.
        labels: names, in the order of the indices.
        parity_ratio: share of rows on which the exported engine gives the label torch gives.
        champion: the version compared with.
        limits: the settings of the gate.
    """
    rules = [
        _rows(len(holdout.truth), limits),
        _parity(parity_ratio, limits),
        _accuracy_loss(holdout, limits),
        _class_floor(holdout, labels, limits),
        _negative_flips(holdout, limits),
        _holdout_gain(holdout, limits),
        _corrections_fixed(corrections, limits),
    ]
    return _conclude(rules, champion)


def decide_first(rows: int, accuracy: float, majority_ratio: float, parity_ratio: float, limits: GateLimits) -> GateDecision:
    """Return the decision on the first version: without a champion, it must beat always naming the commonest label."""
    floor = Rule(
        name="beats_majority",
        value=accuracy,
        limit=majority_ratio,
        kind="required",
        passed=accuracy > majority_ratio,
        why=f"accuracy on {rows} holdout rows against always naming the commonest label",
    )
    return _conclude([_rows(rows, limits), _parity(parity_ratio, limits), floor], None)


def _rows(rows: int, limits: GateLimits) -> Rule:
    why = f"{rows} holdout rows to judge on"
    return Rule(
        name="holdout_rows", value=rows, limit=limits.min_rows, kind="required", passed=rows >= limits.min_rows, why=why
    )


def _parity(ratio: float, limits: GateLimits) -> Rule:
    limit = limits.min_parity_ratio
    why = "share of rows on which the exported engine gives the label torch gives"
    return Rule(name="parity", value=ratio, limit=limit, kind="required", passed=ratio >= limit, why=why)


def _accuracy_loss(holdout: Answers, limits: GateLimits) -> Rule:
    rows = len(holdout.truth)
    better, worse = holdout.flips
    gain = (better - worse) / rows if rows else 0.0
    limit = limits.max_loss_ratio
    why = f"of {rows} holdout rows it puts {better} right and {worse} wrong: {gain * 100:+.2f} points"
    return Rule(name="accuracy_loss", value=-gain, limit=limit, kind="required", passed=-gain <= limit, why=why)


def _negative_flips(holdout: Answers, limits: GateLimits) -> Rule:
    rows = len(holdout.truth)
    _, worse = holdout.flips
    ratio = worse / rows if rows else 0.0
    limit = limits.max_negative_flip_ratio
    why = f"{worse} of {rows} rows that were right turn wrong"
    return Rule(name="negative_flips", value=ratio, limit=limit, kind="required", passed=ratio <= limit, why=why)


def _holdout_gain(holdout: Answers, limits: GateLimits) -> Rule:
    better, worse = holdout.flips
    chance, level = mcnemar(better, worse), limits.alpha / 2
    why = f"chance of {better} against {worse} or better between equal models (exact McNemar)"
    return Rule(name="holdout_gain", value=chance, limit=level, kind="evidence", passed=chance <= level, why=why)


def _corrections_fixed(corrections: Answers, limits: GateLimits) -> Rule:
    fixed, broken = corrections.flips
    chance, level = mcnemar(fixed, broken), limits.alpha / 2
    why = f"of {len(corrections.truth)} corrections new to the champion it puts {fixed} right and {broken} wrong"
    return Rule(name="corrections_fixed", value=chance, limit=level, kind="evidence", passed=chance <= level, why=why)


def _class_floor(holdout: Answers, labels: list[str], limits: GateLimits) -> Rule:
    worst, why = 0.0, "no class loses significantly"
    # As many tests as classes: alpha is shared among them (Bonferroni), so that one unlucky class does not veto.
    level = limits.alpha / max(1, len(labels))
    for index, label in enumerate(labels):
        rows = np.flatnonzero(holdout.truth == index)
        count = len(rows)
        if not count:
            continue
        own = Answers(holdout.truth[rows], holdout.champion[rows], holdout.candidate[rows])
        better, worse = own.flips
        loss = (worse - better) / count
        if loss > worst and mcnemar(worse, better) <= level:
            worst, why = loss, f"recall of {label!r} falls by {loss * 100:.1f} points on {count} rows"
    limit = limits.max_class_loss_ratio
    return Rule(name="class_floor", value=worst, limit=limit, kind="required", passed=worst <= limit, why=why)


def _conclude(rules: list[Rule], champion: str | None) -> GateDecision:
    failed = [rule.name for rule in rules if rule.kind == "required" and not rule.passed]
    evidence = [rule for rule in rules if rule.kind == "evidence"]
    if failed:
        return GateDecision(promote=False, summary=f"failed {', '.join(failed)}", champion=champion, rules=rules)
    if evidence and not any(rule.passed for rule in evidence):
        return GateDecision(promote=False, summary="no evidence that it is better", champion=champion, rules=rules)
    grounds = ", ".join(rule.name for rule in evidence if rule.passed) or "first version"
    return GateDecision(promote=True, summary=f"passed on {grounds}", champion=champion, rules=rules)
