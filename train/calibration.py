"""Whether probabilities mean what they say: the reliability diagram, and what the temperature changed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from core.classifier import softmax
from train.measure import calibration_error, reliability
from train.uncertainty import Interval, share

FloatMatrix = NDArray[np.float32]
IntVector = NDArray[np.int64]


class ReliabilityBin(BaseModel):
    """Answers of like confidence."""

    rows: int
    confidence: float = Field(description="Mean probability of the answers.")
    accuracy: Interval = Field(description="How many of them are right.")


class Calibration(BaseModel):
    """Calibration of the best answers. The temperature was fitted when the version was made, on its validation rows."""

    ece: float = Field(description="Expected calibration error over 15 bins of equal width.")
    ece_without_temperature: float
    temperature: float
    brier: float = Field(description="Mean squared distance between the probabilities and the right label's 1, 0 to 2.")
    bins: list[ReliabilityBin]


def calibration(scores: FloatMatrix, truth: IntVector, temperature: float) -> Calibration:
    """Return the calibration of probabilities (n, c) that were divided by ``temperature`` as logits."""
    # Logits are known up to a constant a row, which the softmax takes out again.
    plain = softmax(np.log(np.clip(scores, 1e-30, 1.0)) * np.float32(temperature))
    asked = np.zeros_like(scores)
    asked[np.arange(len(truth)), truth] = 1.0
    return Calibration(
        ece=calibration_error(scores, truth),
        ece_without_temperature=calibration_error(plain, truth),
        temperature=temperature,
        brier=float(((scores - asked) ** 2).sum(axis=1).mean()),
        bins=[
            ReliabilityBin(rows=found.rows, confidence=found.confidence, accuracy=accuracy)
            for found in reliability(scores, truth)
            if (accuracy := share(round(found.right_ratio * found.rows), found.rows)) is not None
        ],
    )
