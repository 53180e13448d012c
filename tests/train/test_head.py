"""The linear head: held against scikit-learn, against repeated rows and against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from core.classifier import Head, softmax
from train import head as module
from train.head import FeatureRows, FloatMatrix, IntVector, fit_head, fit_temperature, logits

_CLASSES = 3


def _problem(rows: int = 90, *, seed: int = 0) -> tuple[FeatureRows, IntVector]:
    """Return rows of 5 dense and 7 sparse features, and labels that depend on both but not on them alone."""
    random = np.random.default_rng(seed)
    dense = random.normal(size=(rows, 5)).astype(np.float32)
    sparse = random.normal(size=(rows, 7)).astype(np.float32) * (random.random((rows, 7)) < 0.4)
    scores = dense @ random.normal(size=(5, _CLASSES)) + sparse @ random.normal(size=(7, _CLASSES))
    labels = (scores + random.gumbel(size=scores.shape)).argmax(axis=1)
    return FeatureRows(dense, csr_matrix(sparse.astype(np.float32))), labels.astype(np.int64)


def _side_by_side(rows: FeatureRows) -> FloatMatrix:
    parts = [rows.embeddings, None if rows.ngrams is None else rows.ngrams.toarray()]
    return np.hstack([part for part in parts if part is not None])


def _probabilities(head: Head, rows: FeatureRows) -> FloatMatrix:
    return softmax(logits(head, rows))


@pytest.mark.parametrize("kinds", [{"encoder"}, {"ngrams"}, {"encoder", "ngrams"}])
@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_scikit_learn_finds_the_same_head(kinds: set[str], strength: float, weighted: bool) -> None:
    rows, labels = _problem()
    rows = rows.only(encoder="encoder" in kinds, ngrams="ngrams" in kinds)
    weights = np.linspace(0.5, 4.0, len(labels)).astype(np.float32) if weighted else None
    head = fit_head(rows, labels, classes=_CLASSES, weights=weights, regularisation=strength)
    theirs = LogisticRegression(C=strength, max_iter=5_000, tol=1e-10)
    theirs.fit(_side_by_side(rows), labels, sample_weight=weights)
    np.testing.assert_allclose(_probabilities(head, rows), theirs.predict_proba(_side_by_side(rows)), atol=0.01)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=30, max_size=30), st.integers(0, 3))
def test_a_weight_counts_as_so_many_rows(repeats: list[int], seed: int) -> None:
    rows, labels = _problem(30, seed=seed)
    places = np.repeat(np.arange(30), repeats)
    weighted = fit_head(rows, labels, classes=_CLASSES, weights=np.array(repeats, np.float32))
    repeated = fit_head(rows.take(places), labels[places], classes=_CLASSES)
    np.testing.assert_allclose(_probabilities(weighted, rows), _probabilities(repeated, rows), atol=0.03)


def _objective(
    monkeypatch: pytest.MonkeyPatch, weights: FloatMatrix | None
) -> Callable[..., tuple[float, NDArray[np.float64]]]:
    """Return the function that ``fit_head`` minimises."""
    caught: list[Callable[..., tuple[float, NDArray[np.float64]]]] = []

    def catch(
        fun: Callable[..., tuple[float, NDArray[np.float64]]], first: NDArray[np.float64], **_: object
    ) -> SimpleNamespace:
        caught.append(fun)
        return SimpleNamespace(x=first)

    rows, labels = _problem(40)
    monkeypatch.setattr(module, "minimize", catch)
    fit_head(rows, labels, classes=_CLASSES, weights=weights, regularisation=0.5)
    return caught[0]


@pytest.mark.parametrize("weights", [None, np.linspace(0.1, 3.0, 40).astype(np.float32)])
def test_the_gradient_is_that_of_the_loss(monkeypatch: pytest.MonkeyPatch, weights: FloatMatrix | None) -> None:
    objective = _objective(monkeypatch, weights)
    random = np.random.default_rng(1)
    point = random.normal(size=(5 + 7 + 1) * _CLASSES)
    gradient = objective(point)[1]
    step = 1e-2  # the loss is computed in single precision
    for place in range(len(point)):
        aside = np.zeros_like(point)
        aside[place] = step
        slope = (objective(point + aside)[0] - objective(point - aside)[0]) / (2 * step)
        assert gradient[place] == pytest.approx(slope, abs=2e-3)


def test_huge_scores_overflow_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, gradient = _objective(monkeypatch, None)(np.full((5 + 7 + 1) * _CLASSES, 1e4))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


def test_a_class_without_examples_is_never_the_answer() -> None:
    rows, labels = _problem()
    head = fit_head(rows, labels, classes=_CLASSES + 2)
    assert head.bias.shape == (_CLASSES + 2,)
    scores = _probabilities(head, rows)
    assert scores[:, _CLASSES:].max() < 0.05
    np.testing.assert_allclose(scores[:, :_CLASSES], _probabilities(fit_head(rows, labels, classes=_CLASSES), rows), atol=0.03)


def test_a_good_start_reaches_the_same_optimum_sooner() -> None:
    rows, labels = _problem()
    heard: list[tuple[int, float]] = []
    cold = fit_head(rows, labels, classes=_CLASSES, on_step=lambda step, loss: heard.append((step, loss)))
    evaluations = len(heard)
    assert [step for step, _ in heard] == list(range(1, evaluations + 1))
    assert heard[-1][1] < heard[0][1]
    heard.clear()
    warm = fit_head(rows, labels, classes=_CLASSES, start=cold, on_step=lambda step, loss: heard.append((step, loss)))
    assert len(heard) < evaluations
    np.testing.assert_allclose(_probabilities(warm, rows), _probabilities(cold, rows), atol=0.01)


def test_a_start_from_elsewhere_reaches_the_same_optimum() -> None:
    rows, labels = _problem()
    cold = fit_head(rows, labels, classes=_CLASSES)
    random = np.random.default_rng(5)
    elsewhere = Head(
        random.normal(size=(5, _CLASSES)).astype("f4"),
        random.normal(size=(7, _CLASSES)).astype("f4"),
        random.normal(size=_CLASSES).astype("f4"),
    )
    warm = fit_head(rows, labels, classes=_CLASSES, start=elsewhere)
    np.testing.assert_allclose(_probabilities(warm, rows), _probabilities(cold, rows), atol=0.02)


def test_rows_are_taken_and_features_left_out() -> None:
    rows, _ = _problem()
    some = rows.take(np.array([3, 1]))
    assert len(some) == 2
    assert some.embeddings is not None
    assert some.ngrams is not None
    assert rows.embeddings is not None
    assert rows.ngrams is not None
    np.testing.assert_array_equal(some.embeddings, rows.embeddings[[3, 1]])
    np.testing.assert_array_equal(some.ngrams.toarray(), rows.ngrams.toarray()[[3, 1]])
    assert rows.only(encoder=True, ngrams=False) == FeatureRows(rows.embeddings, None)
    assert len(rows.only(encoder=False, ngrams=True)) == len(rows)
    assert len(FeatureRows(None, None)) == 0


@pytest.mark.parametrize("known", [0.2, 1.0, 3.0, 8.0])
def test_the_temperature_is_found_again(known: float) -> None:
    random = np.random.default_rng(2)
    true = random.normal(scale=2.0, size=(20_000, 4))
    labels = (true + random.gumbel(size=true.shape)).argmax(axis=1).astype(np.int64)
    assert fit_temperature((true * known).astype(np.float32), labels) == pytest.approx(known, rel=0.1)


def test_a_handful_of_rows_cannot_make_the_temperature_absurd() -> None:
    scores = np.array([[1.0, 0.0]], np.float32)
    assert fit_temperature(scores, np.array([0])) > 0.01
    assert fit_temperature(scores, np.array([1])) < 100.0
    assert fit_temperature(np.empty((0, 2), np.float32), np.empty(0, np.int64)) == 1.0
