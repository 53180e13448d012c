"""ROC and precision-recall curves of every label against the others, and the areas under them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

FloatMatrix = NDArray[np.float32]
IntVector = NDArray[np.int64]

_POINTS = 200


class Points(BaseModel):
    """A curve, thinned out to what a picture can show."""

    x: list[float]
    y: list[float]


class LabelAreas(BaseModel):
    """Areas of one label against all others."""

    label: str
    roc_auc: float
    average_precision: float


class Areas(BaseModel):
    """Areas over labels that are asked about in some rows and not in others.

    Macro means over labels; micro takes each pair of row and label as one answer, which is what the curves show.
    """

    roc_auc_macro: float
    roc_auc_micro: float
    average_precision_macro: float = Field(
        description="Mean area under the labels' precision-recall curves, as step functions."
    )
    average_precision_micro: float
    labels: list[LabelAreas]
    roc: Points = Field(description="x: false positive rate, y: true positive rate.")
    precision_recall: Points = Field(description="x: recall, y: precision.")


def areas(scores: FloatMatrix, truth: IntVector, names: list[str]) -> Areas | None:
    """Return the areas of probabilities (n, c) against class indices (n,); None where all rows have one label."""
    asked = truth[:, None] == np.arange(len(names))
    present = [place for place in range(len(names)) if 0 < asked[:, place].sum() < len(truth)]
    if not present:
        return None
    labels = [
        LabelAreas(
            label=names[place],
            roc_auc=float(roc_auc_score(asked[:, place], scores[:, place])),
            average_precision=float(average_precision_score(asked[:, place], scores[:, place])),
        )
        for place in present
    ]
    pairs, values = asked[:, present].ravel(), scores[:, present].ravel()
    false_rate, true_rate, _ = roc_curve(pairs, values)
    precision, recall, _ = precision_recall_curve(pairs, values)
    return Areas(
        roc_auc_macro=float(np.mean([found.roc_auc for found in labels])),
        roc_auc_micro=float(roc_auc_score(pairs, values)),
        average_precision_macro=float(np.mean([found.average_precision for found in labels])),
        average_precision_micro=float(average_precision_score(pairs, values)),
        labels=labels,
        roc=_thinned(false_rate, true_rate),
        precision_recall=_thinned(recall[::-1], precision[::-1]),
    )


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> Points:
    # Evenly along the curve, not along either axis: the interesting bend of a good model takes next to no width.
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.unique(np.searchsorted(along, np.linspace(0.0, along[-1], _POINTS)).clip(0, len(x) - 1))
    return Points(x=x[kept].round(5).tolist(), y=y[kept].round(5).tolist())
