"""The linear head: held against scikit-learn, against repeated rows and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from core.classifier import Head, softmax
from train import head as module
from train import softmax_loss
from train.head import FeatureRows, FloatMatrix, IntVector, fit_head, fit_temperature, logits
from train.softmax_loss import SoftmaxLoss

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
    head = fit_head(rows, labels, classes=_CLASSES, weights=weights, regularisation=strength, tolerance=1e-7)
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


def _loss(rows: FeatureRows, labels: IntVector, weights: FloatMatrix | None = None, threads: int = 1) -> SoftmaxLoss:
    return SoftmaxLoss(rows, labels, classes=_CLASSES, weights=weights, regularisation=0.5, threads=threads)


@pytest.mark.parametrize("weights", [None, np.linspace(0.1, 3.0, 40).astype(np.float32)])
def test_the_gradient_is_that_of_the_loss(weights: FloatMatrix | None) -> None:
    loss = _loss(*_problem(40), weights)
    point = np.random.default_rng(1).normal(size=loss.shape).astype(np.float32)
    gradient = loss.at(point)[1]
    step = np.float32(1e-2)  # the loss is computed in single precision
    for place in np.ndindex(point.shape):
        aside = np.zeros_like(point)
        aside[place] = step
        slope = (loss.at(point + aside)[0] - loss.at(point - aside)[0]) / (2 * step)
        assert gradient[place] == pytest.approx(slope, abs=2e-3)


def test_huge_scores_overflow_nothing() -> None:
    loss = _loss(*_problem(40))
    value, gradient = loss.at(np.full(loss.shape, 1e4, np.float32))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 200), st.integers(1, 64), st.integers(1, 3), st.integers(0, 3))
def test_blocks_and_threads_change_nothing(rows: int, scores: int, threads: int, seed: int) -> None:
    features, labels = _problem(rows, seed=seed)
    point = np.random.default_rng(seed).normal(size=(13, _CLASSES)).astype(np.float32)
    whole = _loss(features, labels)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(softmax_loss, "_BLOCK_SCORES", scores)
        patched.setattr(softmax_loss, "_LEAST_SCORES_PER_THREAD", 1)
        parts = _loss(features, labels, threads=threads)
        value, gradient = parts.at(point)
        parts.close()
    expected, slopes = whole.at(point)
    assert value == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient, slopes, atol=1e-5)
    np.testing.assert_allclose(parts.precondition(gradient), whole.precondition(slopes), rtol=1e-3, atol=1e-4)


def test_one_number_of_threads_gives_one_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax_loss, "_LEAST_SCORES_PER_THREAD", 1)
    rows, labels = _problem(400)
    first, second = (fit_head(rows, labels, classes=_CLASSES, threads=2) for _ in range(2))
    assert first.encoder is not None
    assert second.encoder is not None
    np.testing.assert_array_equal(first.encoder, second.encoder)
    np.testing.assert_array_equal(first.bias, second.bias)


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


def test_a_head_is_as_near_the_least_loss_as_it_is_told() -> None:
    rows, labels = _problem(300)
    loss = _loss(rows, labels)
    matrices = [
        np.vstack([part for part in (head.encoder, head.ngrams, head.bias[None, :]) if part is not None])
        for tolerance in (1e-8, 1e-5)
        for head in [fit_head(rows, labels, classes=_CLASSES, regularisation=0.5, tolerance=tolerance)]
    ]
    least, near = (loss.at(matrix)[0] for matrix in matrices)
    assert -1e-6 < near - least < 3e-4


@pytest.mark.parametrize("weights", [None, np.linspace(0.5, 2.0, 600).astype(np.float32)])
def test_many_rows_are_fitted_in_stages_to_the_same_head(monkeypatch: pytest.MonkeyPatch, weights: FloatMatrix | None) -> None:
    rows, labels = _problem(600)
    at_once = fit_head(rows, labels, classes=_CLASSES, weights=weights)
    monkeypatch.setattr(module, "_STAGED_ROWS", 100)
    heard: list[int] = []
    staged = fit_head(rows, labels, classes=_CLASSES, weights=weights, on_step=lambda step, _: heard.append(step))
    assert heard.count(1) == 3
    np.testing.assert_allclose(_probabilities(staged, rows), _probabilities(at_once, rows), atol=0.02)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 50), st.floats(0.0, 3.0))
def test_any_start_leads_to_the_same_head(seed: int, size: float) -> None:
    rows, labels = _problem(60, seed=seed)
    random = np.random.default_rng(seed)
    parts = [random.normal(scale=size, size=shape).astype("f4") for shape in ((5, _CLASSES), (7, _CLASSES), (_CLASSES,))]
    warm = fit_head(rows, labels, classes=_CLASSES, regularisation=1.0, start=Head(*parts))
    cold = fit_head(rows, labels, classes=_CLASSES, regularisation=1.0)
    np.testing.assert_allclose(_probabilities(warm, rows), _probabilities(cold, rows), atol=0.02)


@pytest.mark.parametrize("counts", [(1, 200, 200), (1, 1, 1), (397, 2, 2)])
def test_rare_classes_are_fitted_as_scikit_learn_fits_them(counts: tuple[int, int, int]) -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(_CLASSES), counts)
    dense = (random.normal(size=(len(labels), 5)) + np.eye(_CLASSES, 5)[labels]).astype(np.float32)
    rows = FeatureRows(dense, None)
    head = fit_head(rows, labels, classes=_CLASSES, regularisation=1.0)
    theirs = LogisticRegression(C=1.0, max_iter=5_000, tol=1e-10).fit(dense, labels)
    np.testing.assert_allclose(_probabilities(head, rows), theirs.predict_proba(dense), atol=0.02)


def test_one_example_is_enough_not_to_crash() -> None:
    rows, _ = _problem(1)
    head = fit_head(rows, np.array([1]), classes=_CLASSES)
    assert _probabilities(head, rows).argmax() == 1


def test_rows_that_follow_each_other_are_not_copied() -> None:
    rows, _ = _problem()
    some = rows.take(np.arange(10, 20))
    assert some.embeddings is not None
    assert some.ngrams is not None
    assert rows.embeddings is not None
    assert rows.ngrams is not None
    assert np.shares_memory(some.embeddings, rows.embeddings)
    np.testing.assert_array_equal(some.embeddings, rows.embeddings[10:20])
    np.testing.assert_array_equal(some.ngrams.toarray(), rows.ngrams.toarray()[10:20])


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


@pytest.mark.parametrize("rows", [8, 40, 200])
def test_rows_that_are_all_answered_rightly_do_not_say_that_no_answer_is_ever_wrong(rows: int) -> None:
    lead = np.random.default_rng(7).uniform(0.5, 4.0, rows).astype(np.float32)
    scores = np.stack([lead, np.zeros_like(lead)], axis=1)
    temperature = fit_temperature(scores, np.zeros(rows, np.int64))
    wrong = softmax(scores / np.float32(temperature))[:, 1]
    # Of one more row than there are, one is taken to be wrong; the surer an answer is, the more it counts.
    assert np.average(wrong, weights=lead) == pytest.approx(1 / (rows + 1), rel=0.02)


def test_a_handful_of_rows_cannot_make_the_temperature_absurd() -> None:
    scores = np.array([[1.0, 0.0]], np.float32)
    assert fit_temperature(scores, np.array([0])) > 0.01
    assert fit_temperature(scores, np.array([1])) < 100.0
    assert fit_temperature(np.empty((0, 2), np.float32), np.empty(0, np.int64)) == 1.0
