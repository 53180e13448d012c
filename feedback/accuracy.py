"""Live accuracy from a random sample of predictions, each drawn with a probability that was written down."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from core.gate_statistics import wilson


@dataclass(frozen=True)
class Judged:
    """``count`` predictions that were drawn with one inclusion probability and judged alike."""

    right: bool
    inclusion_probability: float
    count: int = 1


@dataclass(frozen=True)
class AccuracyEstimate:
    """A share with its 95% interval; ``effective`` is the number of equally probable draws that would say as much."""

    accuracy: float
    low: float
    high: float
    judged: int
    effective: float


def is_drawn(prediction_id: str, ratio: float) -> bool:
    """Return whether a prediction belongs to a sample of ``ratio`` of all: by its id alone, so that anybody finds the same.

    A larger ratio draws what a smaller one draws, and more.
    """
    # A hash of its own kind: what else is decided by an id must not go together with this.
    digest = hashlib.blake2b(prediction_id.encode("utf-8", "surrogatepass"), digest_size=8, person=b"hone-audit").digest()
    return int.from_bytes(digest) < ratio * 2**64


def estimate_accuracy(sample: Sequence[Judged]) -> AccuracyEstimate | None:
    """Return the estimate, None for an empty sample.

    The share is Hájek's form of the Horvitz-Thompson estimator: each judgement weighs the inverse of its inclusion
    probability. The interval is Wilson's with the effective sample size that the linearised variance of that ratio implies,
    as Korn and Graubard (Survey Methodology 24, 1998) do for Clopper and Pearson's, which covers more than it says.
    """
    judged = sum(item.count for item in sample)
    if not judged:
        return None
    weights = [item.count / item.inclusion_probability for item in sample]
    total = sum(weights)
    share = sum(weight for weight, item in zip(weights, sample, strict=True) if item.right) / total
    # Kish's size, for a share that is nobody's but its own variance: all right, or all wrong.
    effective = total**2 / sum(item.count / item.inclusion_probability**2 for item in sample)
    squares = sum(item.count * ((item.right - share) / item.inclusion_probability) ** 2 for item in sample)
    if squares > 0.0 and judged > 1:
        variance = squares / total**2 * judged / (judged - 1)
        effective = min(float(judged), share * (1.0 - share) / variance)
    low, high = wilson(share * effective, effective)
    return AccuracyEstimate(share, low, high, judged, effective)
