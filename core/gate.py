"""The gate: may a candidate take the champion's place? Every rule says its value, its limit, its verdict and why.

A candidate is promoted when no rule forbids it and there is evidence for it, of one of three kinds, on rows it never learned
from: a gain on the frozen holdout; a gain on recent predictions that chance drew and people judged; or more of what people
corrected put right than another model would by chance. The kinds share ``alpha``, and each look at the same rows may use less
of it, so that candidates which are no better pass at most as often as ``alpha`` says, however many are tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

IntVector = NDArray[np.int64]
FloatVector = NDArray[np.float64]
# What a better candidate is expected to gain; a holdout that cannot show it is worn.
WORTH_RATIO = 0.02


class Rule(BaseModel):
    """One question the gate asks."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: float
    limit: float
    kind: Literal["required", "evidence"] = Field(description="`required` must pass; of the `evidence` rules one must.")
    passed: bool
    why: str


class ClassChange(BaseModel):
    """What became of one label, or one slice, on the holdout."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int
    champion_right: int
    candidate_right: int
    better: int | None = Field(None, description="Rows the candidate puts right; null in decisions of earlier releases.")
    worse: int | None = Field(None, description="Rows it puts wrong.")

    @classmethod
    def of(cls, name: str, answers: Answers) -> ClassChange:
        """Return what became of the rows in ``answers``."""
        better, worse = answers.flips
        champion_right = int((answers.champion == answers.truth).sum())
        return cls(
            name=name,
            rows=len(answers.truth),
            champion_right=champion_right,
            candidate_right=champion_right + better - worse,
            better=better,
            worse=worse,
        )


class Bin(BaseModel):
    """Answers of about the same confidence: what they promise, and what they keep."""

    model_config = ConfigDict(frozen=True)

    rows: int
    confidence: float = Field(description="Mean of the best label's probability.")
    right_ratio: float


class Reliability(BaseModel):
    """How honest both models' probabilities are on the holdout, in bins by confidence."""

    model_config = ConfigDict(frozen=True)

    champion: list[Bin]
    candidate: list[Bin]


class Looks(BaseModel):
    """How often the same rows were looked at, this time included."""

    model_config = ConfigDict(frozen=True)

    holdout: str | None = Field(None, description="Names the holdout's rows.")
    holdout_looks: int = 1
    recent_looks: int = 1
    holdout_weight: float = Field(
        1.0, description="What this look counts: less than 1 where rows that are not held out do not speak for the candidate."
    )
    holdout_weights: float | None = Field(
        None, description="What all looks at the holdout count together, this one included; null where each counts 1."
    )
    least_gain_ratio: float | None = Field(
        None,
        description="Least gain in accuracy that the holdout can show at this look, where models differ as much as these; "
        "null where it can show none.",
    )
    worn: bool = Field(
        False, description="Whether that is more than two points: the holdout is too small, or was looked at too often."
    )
    too_small: bool = Field(False, description="Whether it was more than two points at the first look already.")

    @property
    def weights(self) -> float:
        """What all looks at the holdout count together, this one included."""
        return float(self.holdout_looks) if self.holdout_weights is None else self.holdout_weights


Mode = Literal["auto", "approve"]


class GateDecision(BaseModel):
    """What the gate decided, rule by rule; with mode ``approve`` what it recommends to whoever signs."""

    model_config = ConfigDict(frozen=True)

    promote: bool
    summary: str
    champion: str | None
    rules: list[Rule]
    mode: Mode = Field("auto", description="`approve`: a person has to sign before it is promoted.")
    looks: Looks = Looks()
    classes: list[ClassChange] = Field(default_factory=list, description="The labels, in order.")
    new_classes: list[ClassChange] = Field(default_factory=list, description="Labels the champion does not know.")
    slices: list[ClassChange] = Field(default_factory=list)
    holdout: ClassChange | None = Field(None, description="All rows of the holdout; null before there was a champion.")
    reliability: Reliability | None = None

    @property
    def waits(self) -> bool:
        """Whether it recommends the version to a person, who has the last word."""
        return self.promote and self.mode == "approve"


@dataclass(frozen=True)
class GateLimits:
    """The settings of the gate; see ``core.settings`` for their meaning."""

    min_rows: int = 50
    min_gain_ratio: float = 0.0
    min_new_class_ratio: float = 0.5
    alpha: float = 0.05
    max_loss_ratio: float = 0.005
    max_sure_loss_ratio: float = 0.02
    max_forgetting_ratio: float = 0.05
    max_class_loss_ratio: float = 0.10
    max_negative_flip_ratio: float = 0.05
    min_parity_ratio: float = 0.99
    max_calibration_loss_ratio: float = 0.05
    max_growth: float = 2.0


@dataclass(frozen=True)
class Answers:
    """The same rows answered by both models: ``truth``, ``champion`` and ``candidate`` are label indices (n,).

    An index of -1 stands for a label the model does not know. ``gains`` (n,) are the nats by which the candidate finds the
    right labels likelier than the champion does; None where nobody knows.
    """

    truth: IntVector
    champion: IntVector
    candidate: IntVector
    gains: FloatVector | None = None

    @property
    def flips(self) -> tuple[int, int]:
        """How many rows the candidate puts right, and how many it puts wrong."""
        before, after = self.champion == self.truth, self.candidate == self.truth
        return int((~before & after).sum()), int((before & ~after).sum())

    def take(self, places: IntVector) -> Answers:
        """Return some of the rows."""
        gains = None if self.gains is None else self.gains[places]
        return Answers(self.truth[places], self.champion[places], self.candidate[places], gains)

    def beside(self, others: Answers) -> Answers:
        """Return these rows and the others; what they gain is known where it is known of both."""
        gains = None
        if self.gains is not None and others.gains is not None:
            gains = np.concatenate([self.gains, others.gains])
        return Answers(
            np.concatenate([self.truth, others.truth]),
            np.concatenate([self.champion, others.champion]),
            np.concatenate([self.candidate, others.candidate]),
            gains,
        )


def by_label(answers: Answers, labels: Sequence[str]) -> dict[str, IntVector]:
    """Return the places of the rows of each label that has any, in order of the labels."""
    return {labels[place]: np.flatnonzero(answers.truth == place) for place in np.unique(answers.truth)}


_NO_ROWS = np.zeros(0, dtype=np.int64)
NO_ANSWERS = Answers(_NO_ROWS, _NO_ROWS, _NO_ROWS)


@dataclass(frozen=True)
class Evidence:
    """What both models said of rows that neither learned from.

    Args:
        holdout: the frozen holdout.
        recent: recent predictions that chance drew, as people judged them.
        corrections: recent texts that people chose to correct or confirm.
        new: rows of labels that the champion does not know; none of them is among the others.
        before: a version that served before the champion and did better on the holdout, and its answers there in the
            champion's place.
        slices: places in ``holdout``, by the name of the slice.
        looks: how often the rows were looked at.
        earlier: predictions that chance drew and the champion was fitted on; both models answer as they would have without.
    """

    holdout: Answers
    recent: Answers = NO_ANSWERS
    corrections: Answers = NO_ANSWERS
    new: Answers = NO_ANSWERS
    before: tuple[str, Answers] | None = None
    slices: Mapping[str, IntVector] = field(default_factory=dict)
    looks: Looks = field(default_factory=Looks)
    earlier: Answers = NO_ANSWERS


@dataclass(frozen=True)
class Make:
    """What a candidate is like beside its answers, ratios against the champion: None was not measured.

    ``calibration`` holds the calibration errors of champion and candidate on the holdout, ``reliability`` what they come from.
    """

    parity_ratio: float
    calibration: tuple[float, float] | None = None
    reliability: Reliability | None = None
    size_ratio: float | None = None
    latency_ratio: float | None = None


def decide(evidence: Evidence, make: Make, *, labels: list[str], champion: str, limits: GateLimits) -> GateDecision:
    """Return the decision on a candidate that was compared with ``champion``; ``labels`` are named in order of the indices."""
    from core import gate_evidence, gate_rules

    holdout = evidence.holdout
    rules = [
        gate_rules.holdout_rows(len(holdout.truth), limits),
        gate_rules.parity(make.parity_ratio, limits),
        gate_rules.holdout_loss(evidence, limits),
        gate_rules.recent_loss(evidence.recent),
        *gate_rules.minimum_gain(evidence, limits),
        gate_rules.class_floor(holdout, labels, limits),
        *gate_rules.new_classes(evidence, labels, limits),
        gate_rules.slice_floor(holdout, evidence.slices, limits),
        gate_rules.negative_flips(holdout, limits),
        *gate_rules.forgetting(evidence.before, labels, limits),
        *gate_rules.make(make, limits),
        *gate_evidence.evidence_rules(evidence, limits),
    ]
    own, new = by_label(holdout, labels), by_label(evidence.new, labels)
    return _conclude(rules, champion).model_copy(
        update={
            "looks": _worn(evidence, gate_evidence.share_of_alpha(evidence, limits) / gate_evidence.holdout_ways(holdout)),
            "classes": [ClassChange.of(label, holdout.take(places)) for label, places in own.items()],
            "new_classes": [ClassChange.of(label, evidence.new.take(places)) for label, places in new.items()],
            "slices": [ClassChange.of(name, holdout.take(places)) for name, places in evidence.slices.items()],
            "holdout": ClassChange.of("holdout", holdout),
            "reliability": make.reliability,
        }
    )


def _worn(evidence: Evidence, level: float) -> Looks:
    """Return the looks, with what the holdout can still show where all of them together have ``level``."""
    from core.gate_statistics import least_gain, spending

    rows = len(evidence.holdout.truth)
    # Two models that differ on fewer rows cannot be two points apart.
    discordant = max(sum(evidence.holdout.flips), ceil(WORTH_RATIO * rows))

    def least_at(look: float) -> float | None:
        return least_gain(discordant, rows, level * spending(look))

    # What it can show of a candidate that more speaks for, even where this one's look weighs less.
    looks = evidence.looks
    least, at_first = least_at(looks.weights + 1.0 - looks.holdout_weight), least_at(1)
    return evidence.looks.model_copy(
        update={"least_gain_ratio": least, "worn": _is_too_much(least), "too_small": _is_too_much(at_first)}
    )


def _is_too_much(gain: float | None) -> bool:
    return gain is None or gain > WORTH_RATIO + 1e-9


def decide_first(rows: int, accuracy: float, majority_ratio: float, parity_ratio: float, limits: GateLimits) -> GateDecision:
    """Return the decision on the first version: without a champion, it must beat always naming the commonest label."""
    from core import gate_rules

    floor = Rule(
        name="beats_majority",
        value=accuracy,
        limit=majority_ratio,
        kind="required",
        passed=accuracy > majority_ratio,
        why=f"accuracy on {rows} holdout rows against always naming the commonest label",
    )
    return _conclude([gate_rules.holdout_rows(rows, limits), gate_rules.parity(parity_ratio, limits), floor], None)


def _conclude(rules: list[Rule], champion: str | None) -> GateDecision:
    failed = [rule.name for rule in rules if rule.kind == "required" and not rule.passed]
    evidence = [rule for rule in rules if rule.kind == "evidence"]
    if failed:
        return GateDecision(promote=False, summary=f"failed {', '.join(failed)}", champion=champion, rules=rules)
    if evidence and not any(rule.passed for rule in evidence):
        return GateDecision(promote=False, summary="no evidence that it is better", champion=champion, rules=rules)
    grounds = ", ".join(rule.name for rule in evidence if rule.passed) or "first version"
    return GateDecision(promote=True, summary=f"passed on {grounds}", champion=champion, rules=rules)
