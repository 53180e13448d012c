"""The estimate of live accuracy: unbiased, and its interval covers as often as it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from feedback.accuracy import Judged, estimate_accuracy, is_drawn

_PREDICTIONS = 4_000
_SIMULATIONS = 500


def _equal(_scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.full(len(right), 0.05)


def _unequal(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """As when the ratio was raised while the service got better: the probabilities go together with being right."""
    return np.where(scores < 0.5, 0.15, 0.04)


@pytest.mark.parametrize("accuracy", [0.75, 0.92])
@pytest.mark.parametrize("probabilities", [_equal, _unequal])
def test_the_interval_covers_as_often_as_it_says(
    probabilities: Callable[[np.ndarray, np.ndarray], np.ndarray], accuracy: float
) -> None:
    chance = np.random.default_rng(7)
    covered, errors = 0, []
    for run in range(_SIMULATIONS):
        scores = chance.random(_PREDICTIONS)
        right = chance.random(_PREDICTIONS) < np.clip(accuracy + (scores - 0.5) * 0.16, 0, 1)
        ratio = probabilities(scores, right)
        drawn = [place for place in range(_PREDICTIONS) if is_drawn(f"p_{run}_{place}", float(ratio[place]))]
        counted = Counter((bool(right[place]), float(ratio[place])) for place in drawn)
        estimate = estimate_accuracy([Judged(good, probability, count) for (good, probability), count in counted.items()])
        assert estimate is not None
        assert estimate.judged == len(drawn)
        truth = float(right.mean())
        covered += estimate.low <= truth <= estimate.high
        errors.append(estimate.accuracy - truth)
    assert 0.93 <= covered / _SIMULATIONS <= 0.97
    # Four standard errors of the mean of so many estimates.
    assert abs(np.mean(errors)) < 4 * np.std(errors) / np.sqrt(_SIMULATIONS)


def test_corrections_alone_would_mislead_where_the_audit_does_not() -> None:
    """People correct what is wrong: of 92% right predictions, half of those they look at are wrong."""
    chance = np.random.default_rng(1)
    right = chance.random(20_000) < 0.92
    looked_at = right[chance.random(20_000) < np.where(right, 0.02, 0.23)]
    assert looked_at.mean() < 0.6
    drawn = [bool(right[place]) for place in range(20_000) if is_drawn(f"p_{place}", 0.02)]
    estimate = estimate_accuracy([Judged(good, 0.02) for good in drawn])
    assert estimate is not None
    assert estimate.low < 0.92 < estimate.high


def test_edges_are_told_honestly() -> None:
    assert estimate_accuracy([]) is None
    sure = estimate_accuracy([Judged(right=True, inclusion_probability=0.1, count=20)])
    assert sure is not None
    assert (sure.accuracy, sure.high, sure.judged) == (1.0, 1.0, 20)
    assert 0.8 < sure.low < 0.9
    one = estimate_accuracy([Judged(right=False, inclusion_probability=0.5)])
    assert one is not None
    assert (one.accuracy, one.low) == (0.0, 0.0)
    assert one.high > 0.7


def test_a_larger_ratio_draws_all_that_a_smaller_one_draws() -> None:
    ids = [f"p_{number}" for number in range(2_000)]
    few, more = ({name for name in ids if is_drawn(name, ratio)} for ratio in (0.1, 0.3))
    assert few < more
    assert 0.25 < len(more) / len(ids) < 0.35
    assert not any(is_drawn(name, 0.0) for name in ids)
    assert all(is_drawn(name, 1.0) for name in ids)
