"""When to answer nothing: how accurate answers are above a probability, and which one to ask for.

Thresholds are chosen on validation rows and measured on others. What is chosen is what a request sends as ``min_score``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from train.held import Held
from train.uncertainty import Interval, share

FloatVector = NDArray[np.float32]

TARGETS = (0.95, 0.97, 0.99)
# On fewer validation rows a threshold is a matter of single answers.
LEAST_ROWS = 50
# Shares of answers that a threshold keeps back: few of them are ever kept back, so those are tried more finely.
_SHARES = np.concatenate([np.linspace(0.0, 0.1, 60, endpoint=False), np.linspace(0.1, 1.0, 90, endpoint=False)])


class CoveragePoint(BaseModel):
    """What is answered above a probability, and how well."""

    min_score: float
    coverage_ratio: float
    accuracy: Interval | None = Field(description="Of what is answered; null where nothing is.")


class Threshold(BaseModel):
    """The least probability above which validation rows were answered as accurately as wanted."""

    wanted_accuracy: float
    min_score: float | None = Field(description="Null where no threshold reached it on the validation rows.")
    chosen_on_rows: int
    validation: CoveragePoint | None
    measured: CoveragePoint | None = Field(description="The same threshold on the rows of this report.")


class ScopePoint(BaseModel):
    """What a threshold makes of rows in and out of scope; a text counts as out of scope where the model says so or abstains."""

    min_score: float
    in_scope_accuracy: float = Field(description="Rows of the other labels that are answered, and rightly.")
    out_of_scope_recall: float
    out_of_scope_precision: float | None
    accuracy: float = Field(description="Of all rows.")


class Scope(BaseModel):
    """Rows out of scope, with the threshold that validation rows chose."""

    label: str
    in_scope_rows: int
    out_of_scope_rows: int
    chosen_on: dict[str, int] = Field(description="Validation rows, by in and out of scope.")
    rule: str
    reached: bool = Field(description="Whether a threshold satisfied the rule on validation rows.")
    validation: ScopePoint
    measured: ScopePoint
    curve: list[ScopePoint]


def coverage(confidences: FloatVector, right: NDArray[np.bool_]) -> list[CoveragePoint]:
    """Return what is answered at thresholds from 0 up, at most 150, each answering less than the one before."""
    return [at_threshold(confidences, right, score) for score in _candidates(confidences)]


def at_threshold(confidences: FloatVector, right: NDArray[np.bool_], min_score: float) -> CoveragePoint:
    """Return what is answered where ``confidences`` (n,) are at least ``min_score``."""
    answered = confidences >= min_score
    count = int(answered.sum())
    return CoveragePoint(
        min_score=min_score,
        coverage_ratio=count / max(1, len(confidences)),
        accuracy=share(int(right[answered].sum()), count),
    )


def thresholds(
    held: Held | None, confidences: FloatVector, right: NDArray[np.bool_], wanted: Sequence[float] = TARGETS
) -> list[Threshold]:
    """Return for each accuracy wanted the threshold that ``held`` chooses, measured on ``confidences`` (n,); none without."""
    if held is None or len(held.truth) < LEAST_ROWS:
        return []
    curve = coverage(held.confidences, held.answers == held.truth)
    found = []
    for target in wanted:
        chosen = next((point for point in curve if point.accuracy is not None and point.accuracy.value >= target), None)
        found.append(
            Threshold(
                wanted_accuracy=target,
                min_score=None if chosen is None else chosen.min_score,
                chosen_on_rows=len(held.truth),
                validation=chosen,
                measured=None if chosen is None else at_threshold(confidences, right, chosen.min_score),
            )
        )
    return found


def scope(
    label: str,
    place: int,
    chosen_on: Held,
    measured: Held,
    *,
    in_scope_accuracy: float | None = None,
    out_of_scope_recall: float | None = None,
) -> Scope | None:
    """Return the threshold for rows out of scope; None where validation or measured rows lack one of the two kinds.

    Args:
        label: what out of scope is called.
        place: its place among the labels; one that no answer has where the model does not know it.
        chosen_on: validation rows.
        measured: the rows to report.
        in_scope_accuracy: what rows in scope must keep, on validation rows; the rule is then to find as many others as that
            allows.
        out_of_scope_recall: the share of rows out of scope to be found, on validation rows; the rule is then to keep as many
            others right as that allows. Not with the one before. Neither: the most rows of all that are right (Larson et al.,
            EMNLP 2019).
    """
    outside, ours = chosen_on.truth == place, measured.truth == place
    if not (outside.any() and (~outside).any() and ours.any() and (~ours).any()):
        return None
    points = [_scope_point(chosen_on, place, score) for score in _candidates(chosen_on.confidences)]
    if in_scope_accuracy is not None:
        rule = f"the most out-of-scope rows found with {in_scope_accuracy:.1%} of the others right, on validation rows"
        allowed = [point for point in points if point.in_scope_accuracy >= in_scope_accuracy]
        best = max(allowed, key=lambda point: point.out_of_scope_recall) if allowed else points[0]
    elif out_of_scope_recall is not None:
        rule = f"the most other rows right with {out_of_scope_recall:.1%} of those out of scope found, on validation rows"
        allowed = [point for point in points if point.out_of_scope_recall >= out_of_scope_recall]
        best = max(allowed, key=lambda point: point.in_scope_accuracy) if allowed else points[-1]
    else:
        rule, allowed = "the most validation rows right", points
        best = max(points, key=lambda point: point.accuracy)
    return Scope(
        label=label,
        in_scope_rows=int((~ours).sum()),
        out_of_scope_rows=int(ours.sum()),
        chosen_on={"in scope": int((~outside).sum()), "out of scope": int(outside.sum())},
        rule=rule,
        reached=bool(allowed),
        validation=best,
        measured=_scope_point(measured, place, best.min_score),
        curve=[_scope_point(measured, place, score) for score in _candidates(measured.confidences)],
    )


def _scope_point(rows: Held, place: int, min_score: float) -> ScopePoint:
    out = (rows.answers == place) | (rows.confidences < min_score)
    outside = rows.truth == place
    right = ~out & (rows.answers == rows.truth)
    return ScopePoint(
        min_score=min_score,
        in_scope_accuracy=float(right[~outside].mean()),
        out_of_scope_recall=float(out[outside].mean()),
        out_of_scope_precision=float(outside[out].mean()) if out.any() else None,
        accuracy=float(np.where(outside, out, right).mean()),
    )


def _candidates(confidences: FloatVector) -> list[float]:
    """Return 0 and probabilities below which growing shares of the answers lie, ascending, rounded as people write them."""
    found = np.quantile(confidences, _SHARES)
    return sorted({0.0, *(round(float(score), 4) for score in found)})
