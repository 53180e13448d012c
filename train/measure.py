"""Numbers that say how good answers are; each is computed on rows that neither the model nor its thresholds were fitted on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from core.gate import Bin

FloatMatrix = NDArray[np.float32]
IntVector = NDArray[np.int64]
BINS = 15


class ClassReport(BaseModel):
    """Precision, recall and F1 of one label, and its rows."""

    label: str
    rows: int
    precision: float
    recall: float
    f1: float


def summary(scores: FloatMatrix, labels: IntVector) -> dict[str, float]:
    """Return accuracy, macro F1, log loss and expected calibration error of probabilities (n, c) against labels (n,)."""
    if not len(labels):
        return {}
    answers = scores.argmax(axis=1)
    present = np.unique(np.concatenate([labels, answers]))
    _, _, f1, _ = precision_recall_fscore_support(labels, answers, labels=present, zero_division=0.0)
    return {
        "accuracy": float((answers == labels).mean()),
        "macro_f1": float(np.mean(f1)),
        "log_loss": log_loss(scores, labels),
        "ece": calibration_error(scores, labels),
    }


def log_loss(scores: FloatMatrix, labels: IntVector) -> float:
    """Return the mean negative log-probability of the right label."""
    return float(-np.log(np.clip(scores[np.arange(len(labels)), labels], 1e-12, 1.0)).mean())


def calibration_error(scores: FloatMatrix, labels: IntVector) -> float:
    """Return the expected calibration error over 15 bins of equal width (Guo et al. 2017, arXiv 1706.04599)."""
    bins = reliability(scores, labels)
    return sum(found.rows * abs(found.right_ratio - found.confidence) for found in bins) / len(labels) if bins else 0.0


def reliability(scores: FloatMatrix, labels: IntVector) -> list[Bin]:
    """Return the 15 bins of equal width that hold rows, the least confident first."""
    if not len(labels):
        return []
    confidence = scores.max(axis=1)
    right = scores.argmax(axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    found = []
    for index in np.unique(bins):
        inside = bins == index
        mean, kept = float(confidence[inside].mean()), float(right[inside].mean())
        found.append(Bin(rows=int(inside.sum()), confidence=mean, right_ratio=kept))
    return found


def by_class(answers: IntVector, labels: IntVector, names: list[str]) -> list[ClassReport]:
    """Return one report per label that occurs, in the order of ``names``."""
    places = list(range(len(names)))
    precision, recall, f1, rows = precision_recall_fscore_support(labels, answers, labels=places, zero_division=0.0)
    return [
        ClassReport(label=name, rows=int(rows[i]), precision=float(precision[i]), recall=float(recall[i]), f1=float(f1[i]))
        for i, name in enumerate(names)
        if rows[i] or np.any(answers == i)
    ]


def confusion(answers: IntVector, labels: IntVector, classes: int) -> list[list[int]]:
    """Return counts (c, c): row the right label, column the answer."""
    counts: list[list[int]] = confusion_matrix(labels, answers, labels=list(range(classes))).tolist()
    return counts
