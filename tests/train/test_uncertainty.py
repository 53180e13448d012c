"""Intervals: held against published values, scikit-learn, and how often they cover."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from train.uncertainty import averages, difference, share


def _counts(truth: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (truth, answers), 1)
    return counts


def test_without_rows_there_is_no_share() -> None:
    assert share(0, 0) is None
    assert difference(1, 2, 0, 0) is None


def test_a_difference_is_that_of_newcombes_paper() -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table II, method 10: 9/10 - 3/10.
    found = difference(9, 10, 3, 10)
    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (0.1705, 0.8090)


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_averages_are_those_of_scikit_learn(average: str) -> None:
    random = np.random.default_rng(1)
    truth, answers = random.integers(0, 4, 200), random.integers(0, 5, 200)
    found = averages(_counts(truth, answers, 7))
    precision, recall, f1, _ = precision_recall_fscore_support(truth, answers, average=average, zero_division=0.0)
    for name, value in (("precision", precision), ("recall", recall), ("f1", f1)):
        interval = found[f"{average}_{name}"]
        assert interval.value == pytest.approx(value)
        assert interval.low < interval.value < interval.high


def test_intervals_of_averages_cover_and_narrow_with_rows() -> None:
    random = np.random.default_rng(2)
    covered, widths = 0, []
    for turn in range(60):
        truth = random.integers(0, 3, 300)
        # Four in five are right, the others are spread evenly: precision, recall and F1 are 0.8 each.
        answers = np.where(random.random(300) < 0.8, truth, (truth + random.integers(1, 3, 300)) % 3)
        found = averages(_counts(truth, answers, 3), seed=turn)["macro_f1"]
        covered += found.low <= 0.8 <= found.high
        widths.append(found.high - found.low)
    assert covered >= 52
    few = averages(_counts(truth[:60], answers[:60], 3))["macro_f1"]
    assert few.high - few.low > 1.5 * float(np.median(widths))


def test_the_same_rows_give_the_same_interval() -> None:
    counts = np.array([[5, 1], [2, 8]])
    assert averages(counts) == averages(counts)
