"""Numbers of quality, held against scikit-learn and against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from train.measure import by_class, calibration_error, confusion, log_loss, summary


def _scores(rows: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    scores = random.dirichlet(np.ones(classes), rows).astype(np.float32)
    return scores, random.integers(0, classes, rows)


def test_the_summary_agrees_with_scikit_learn() -> None:
    scores, labels = _scores()
    found = summary(scores, labels)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, scores.argmax(axis=1)))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, scores.argmax(axis=1), average="macro"))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(labels, scores.astype(float)), rel=1e-4)
    assert 0.0 <= found["ece"] <= 1.0


def test_there_are_no_numbers_without_rows() -> None:
    assert summary(np.empty((0, 3), np.float32), np.empty(0, np.int64)) == {}


def test_a_certain_mistake_costs_much_but_not_infinitely_much() -> None:
    assert 10.0 < log_loss(np.array([[1.0, 0.0]], np.float32), np.array([1])) < 100.0


def test_calibration_compares_confidence_with_accuracy() -> None:
    always_sure = np.tile(np.array([[1.0, 0.0]], np.float32), (4, 1))
    assert calibration_error(always_sure, np.array([0, 0, 0, 0])) == 0.0
    assert calibration_error(always_sure, np.array([0, 0, 1, 1])) == pytest.approx(0.5)


def test_too_sure_and_too_unsure_do_not_cancel_out() -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.4]], np.float32)
    assert calibration_error(scores, np.array([1, 0])) == pytest.approx((0.9 + 0.4) / 2)


def test_classes_that_do_not_occur_are_left_out_of_the_report() -> None:
    names = ["a", "b", "c"]
    answers, labels = np.array([0, 0, 1]), np.array([0, 1, 1])
    first, second = by_class(answers, labels, names)
    assert (first.label, first.rows, first.precision, first.recall) == ("a", 1, 0.5, 1.0)
    assert (second.label, second.rows, second.precision, second.recall) == ("b", 2, 1.0, 0.5)
    assert confusion(answers, labels, 3) == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
