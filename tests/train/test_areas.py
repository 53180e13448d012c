"""Areas under curves, held against scikit-learn and against what they must be; and calibration."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score

from train.areas import areas
from train.calibration import calibration

NAMES = ["a", "b", "c"]


def _scores(rows: int = 300, *, sharp: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, rows)
    logits = random.normal(size=(rows, 3))
    logits[np.arange(rows), truth] += 1.0
    powers = np.exp(sharp * logits)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), truth


def test_areas_are_those_of_scikit_learn() -> None:
    scores, truth = _scores()
    found = areas(scores, truth, NAMES)
    assert found is not None
    expected = roc_auc_score(truth, scores.astype(np.float64), multi_class="ovr", average="macro")
    assert found.roc_auc_macro == pytest.approx(expected, abs=1e-4)
    assert auc(found.roc.x, found.roc.y) == pytest.approx(found.roc_auc_micro, abs=5e-3)
    assert len(found.roc.x) <= 200
    assert found.precision_recall.x == sorted(found.precision_recall.x)
    assert [item.label for item in found.labels] == NAMES


def test_a_label_that_is_not_asked_about_has_no_area() -> None:
    scores, truth = _scores()
    found = areas(scores, np.where(truth == 2, 1, truth), NAMES)
    assert found is not None
    assert [item.label for item in found.labels] == ["a", "b"]
    assert areas(scores, np.zeros(len(truth), np.int64), NAMES) is None


def test_the_best_and_the_worst_ranking() -> None:
    truth = np.array([0, 1, 2] * 10)
    perfect = areas(np.eye(3, dtype=np.float32)[truth], truth, NAMES)
    assert perfect is not None
    assert (perfect.roc_auc_micro, perfect.average_precision_macro) == (1.0, 1.0)


def test_a_temperature_that_was_needed_shows() -> None:
    # Logits twice as large as the truth warrants; dividing them by 2 mends it.
    sure, truth = _scores(2000, sharp=2.0)
    mended, _ = _scores(2000)
    found = calibration(mended, truth, 2.0)
    assert found.ece < 0.04 < found.ece_without_temperature
    assert found.ece_without_temperature == pytest.approx(calibration(sure, truth, 1.0).ece, abs=1e-4)
    assert sum(item.rows for item in found.bins) == 2000
    assert all(item.accuracy.low <= item.accuracy.value <= item.accuracy.high for item in found.bins)
    assert 0.0 < found.brier < 2.0
