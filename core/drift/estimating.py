"""Accuracy without labels, guessed from confidences: how often a version is right on texts nobody has judged.

All of it rests on one assumption, that what is right for a text has not changed; where it has, no look at confidences can
tell, and the gap to audited answers (:func:`core.drift.errors.shortfall`) has to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.drift.detector import MIN_ROWS

Vector = NDArray[np.float64]
Flags = NDArray[np.bool_]
Method = Callable[[Vector, Flags, Vector], float]

_RESAMPLES = 200
_CENTRAL = (2.5, 97.5)
# How far guesses miss where texts change, as a standard deviation: between 1 and 13 points on the shifts of docs/drift.md.
_USUAL_MISS = 0.05


@dataclass(frozen=True)
class Estimate:
    """A guessed accuracy with a 95% interval for the share that is right among the ``rows`` of the window."""

    accuracy: float
    low: float
    high: float
    rows: int


def mean_confidence(reference: Vector, right: Flags, window: Vector) -> float:  # noqa: ARG001 - one signature for all methods
    """Return the mean calibrated confidence: CBPE, as NannyML calls it (docs.nannyml.com, How it works)."""
    return float(window.mean())


def difference_of_confidences(reference: Vector, right: Flags, window: Vector) -> float:
    """Return the reference's accuracy less what confidence fell by: DoC (Guillory et al., ICCV 2021)."""
    return float(right.mean() - (reference.mean() - window.mean()))


def thresholded_confidence(reference: Vector, right: Flags, window: Vector) -> float:
    """Return the share above the confidence that as many reference rows exceed as are right: ATC (Garg et al., ICLR 2022)."""
    threshold = np.quantile(reference, 1.0 - right.mean())
    return float((window >= threshold).mean())


# By the names of HONE_DRIFT_ESTIMATOR. The first is the default: the nearest on both shifts it was chosen by, which no bar is
# about (docs/drift.md), and the plainest.
METHODS: Mapping[str, Method] = {
    "cbpe": mean_confidence,
    "doc": difference_of_confidences,
    "atc": thresholded_confidence,
}
CHOSEN: Method = mean_confidence


def estimate_without_labels(reference: Vector, right: Flags, window: Vector, method: Method = CHOSEN) -> Estimate | None:
    """Return the guessed accuracy on a window, None where window or reference are too small to say anything.

    Args:
        reference: confidences (m,) of held-out rows.
        right: whether each of these was answered rightly (m,).
        window: confidences (n,) of the answers whose accuracy is guessed.
        method: how to guess.

    The interval has the method's own uncertainty, by the bootstrap over both samples (Efron, Annals of Statistics 7, 1979),
    and the binomial one of the rows themselves.
    """
    if min(len(reference), len(window)) < MIN_ROWS:
        return None
    random = np.random.default_rng(0)
    guess = float(np.clip(method(reference, right, window), 0.0, 1.0))
    drawn = []
    for _ in range(_RESAMPLES):
        ours = random.integers(0, len(reference), len(reference))
        theirs = random.integers(0, len(window), len(window))
        share = float(np.clip(method(reference[ours], right[ours], window[theirs]), 0.0, 1.0))
        drawn.append(random.binomial(len(window), share) / len(window))
    low, high = np.percentile(drawn, _CENTRAL)
    return Estimate(guess, min(float(low), guess), max(float(high), guess), len(window))


def correct(guess: float, guess_of_audited: float, right: Flags) -> float | None:
    """Return a guess less what audited answers of the same version so far fell short of the guess for them; None for few.

    The miss is shrunk towards 0 as in empirical Bayes (Efron and Morris, JASA 70, 1975): by ``v / (v + p (1 - p) / n)``, with
    ``v`` the variance that misses usually have and ``n`` the audited answers.
    """
    if len(right) < MIN_ROWS:
        return None
    share = float(np.clip(right.mean(), 0.05, 0.95))
    chance = share * (1.0 - share) / len(right)
    weight = _USUAL_MISS**2 / (_USUAL_MISS**2 + chance)
    return float(np.clip(guess - weight * (guess_of_audited - right.mean()), 0.0, 1.0))


def calibrate(reference: Vector, right: Flags, confidences: Vector) -> tuple[Vector, float]:
    """Return each answer's expected accuracy (n,) on the reference's terms, and the standard error of their mean.

    Confidences are shifted by what the reference's mean misses its accuracy by; the error is that of this shift.
    """
    offset = float(right.mean() - reference.mean())
    error = float(np.std(right - reference) / np.sqrt(len(reference))) if len(reference) else 0.0
    return np.clip(confidences + offset, 0.0, 1.0), error
