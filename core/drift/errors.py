"""Drift of errors: changes in how often audited answers are wrong, and answers that are wrong more often than expected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, cast

import numpy as np
from scipy.stats import norm

from core.drift.detector import MIN_ROWS, Score

# The level of ADWIN's test; with it none of 300 simulated streams of 1,000 answers, of which 85% were right throughout, gave a
# false alarm.
ADWIN_DELTA = 0.002


@dataclass(frozen=True)
class Outcome:
    """An audited answer: the probability it was given, and whether it was right."""

    confidence: float
    right: bool


class ErrorRate:
    """ADWIN over a stream of errors, by river: a window that grows while its mean holds and is cut where it does not.

    Bifet and Gavaldà, Learning from time-changing data with adaptive windowing, SDM 2007: a cut between parts of ``n0`` and
    ``n1`` values is made where their means differ by more than ``sqrt(1/(2m) ln(4n/delta))``, ``1/m = 1/n0 + 1/n1`` (river
    uses the paper's tighter bound with the variance).
    """

    name = "errors"
    unit = "errors per answer, after the change less before"
    source = "Bifet and Gavaldà, SDM (2007)"

    def __init__(self, delta: float = ADWIN_DELTA) -> None:
        # river reads pandas and scikit-learn for seconds, which only those who watch drift should wait for.
        from river.drift import ADWIN

        # Typed as a whole, but not its constructor and update.
        self._adwin: Any = cast("Any", ADWIN)(delta=delta)

    def update(self, *, wrong: bool) -> float | None:
        """Return by how much the share of errors changed where this answer gives a change away, None where it does not."""
        before = float(self._adwin.estimation)
        self._adwin.update(float(wrong))
        return float(self._adwin.estimation) - before if self._adwin.drift_detected else None


def rises(outcomes: Iterable[Outcome], delta: float = ADWIN_DELTA) -> list[tuple[int, float]]:
    """Return the places at which errors were found to have become more frequent, with by how much."""
    detector = ErrorRate(delta)
    found = ((place, detector.update(wrong=not outcome.right)) for place, outcome in enumerate(outcomes))
    return [(place, size) for place, size in found if size is not None and size > 0.0]


def shortfall(outcomes: Sequence[Outcome], expected: Sequence[float], expected_error: float = 0.0) -> Score | None:
    """Return how far accuracy falls short of what the confidences of the same answers promise; None for few answers.

    The size is ``mean(p) - mean(right)``; its one-sided p-value is that of Spiegelhalter's calibration in the large
    (Statistics in Medicine 5, 1986), with variance ``Σ p (1 - p) / n²`` plus ``expected_error``², what is unsure about the
    calibration itself. A change of what is right, which no look at texts or scores can see, shows here.
    """
    if len(outcomes) < MIN_ROWS:
        return None
    p = np.clip(np.asarray(expected, dtype=float), 0.001, 0.999)
    right = np.array([outcome.right for outcome in outcomes], dtype=float)
    size = float(p.mean() - right.mean())
    spread = sqrt(float((p * (1.0 - p)).sum()) / len(p) ** 2 + expected_error**2)
    return Score(size, float(norm.sf(size / spread)))
