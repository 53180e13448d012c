"""Base labels that corrections contradict: whose neighbours they are, and from where neighbourhood says something."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from train.doubt import Doubt, FloatMatrix, IntVector, doubted, near_similarity, vouched_ratio


def _unit(rows: NDArray[np.float64]) -> FloatMatrix:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def _clusters(each: int, spread: float, *, seed: int = 0) -> tuple[FloatMatrix, IntVector]:
    """Return rows around three directions at right angles, and which direction each belongs to."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), each)
    return _unit(np.eye(3)[labels] + random.normal(scale=spread, size=(3 * each, 3))), labels


def test_where_neighbours_share_labels_nearness_has_a_limit() -> None:
    embeddings, labels = _clusters(100, 0.1)
    limit = near_similarity(embeddings, labels)
    assert limit is not None
    similarity = embeddings @ embeddings.T
    np.fill_diagonal(similarity, -1.0)
    nearest, closeness = similarity.argmax(axis=1), similarity.max(axis=1)
    within = closeness >= limit
    assert within.any()
    assert (labels[nearest] == labels)[within].mean() >= 0.85


def test_where_labels_are_scattered_nearness_says_nothing() -> None:
    embeddings, labels = _clusters(200, 0.1)
    assert near_similarity(embeddings, np.random.default_rng(1).permutation(labels)) is None


def test_a_few_rows_say_nothing() -> None:
    assert near_similarity(*_clusters(2, 0.1)) is None
    assert near_similarity(np.empty((0, 3), np.float32), np.empty(0, np.int64)) is None


def test_equal_seeds_draw_equal_rows() -> None:
    embeddings, labels = _clusters(1_500, 0.4)
    assert near_similarity(embeddings, labels, seed=3) == near_similarity(embeddings, labels, seed=3)


def test_only_near_rows_that_disagree_are_doubted() -> None:
    embeddings = _unit(np.array([[1.0, 0.01], [1.0, 0.02], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]))
    labels = np.array([0, 1, 0, 0, 1])
    base, corrected = np.array([0, 1, 2, 3]), np.array([4])
    assert doubted(embeddings, labels, base, corrected, similarity=0.99).tolist() == [0]
    assert doubted(embeddings, labels, base, corrected, similarity=0.5).tolist() == [0, 2]


@pytest.mark.parametrize(("base", "corrected"), [([], [0]), ([0], []), ([], [])])
def test_without_rows_or_corrections_nothing_is_doubted(base: list[int], corrected: list[int]) -> None:
    embeddings, labels = _clusters(1, 0.1)
    found = doubted(embeddings, labels, np.array(base, np.int64), np.array(corrected, np.int64), similarity=0.0)
    assert found.tolist() == []


@given(st.integers(0, 50), st.floats(-1.0, 1.0))
def test_doubt_falls_on_base_rows_and_never_on_corrections(seed: int, similarity: float) -> None:
    embeddings, labels = _clusters(8, 0.8, seed=seed)
    base, corrected = np.arange(0, 24, 2), np.arange(1, 24, 2)
    found = doubted(embeddings, labels, base, corrected, similarity=similarity)
    assert set(found.tolist()) <= set(base.tolist())
    nearest = corrected[(embeddings[found] @ embeddings[corrected].T).argmax(axis=1)]
    assert (labels[nearest] != labels[found]).all()


def test_a_class_that_stands_together_is_not_doubted_for_a_new_one_beside_it() -> None:
    embeddings, labels = _clusters(200, 0.1)
    # The last cluster is a label that nobody knew: its corrections are the nearest ones to all that is there.
    base, corrected = np.flatnonzero(labels < 2), np.flatnonzero(labels == 2)
    doubt = Doubt(embeddings, labels, base)
    assert len(doubted(embeddings, labels, base, corrected, similarity=-1.0)) == len(base)
    assert doubt.places(base, corrected).tolist() == []


def test_scattered_labels_beside_corrections_are_doubted() -> None:
    embeddings, truth = _clusters(200, 0.1)
    labels = truth.copy()
    corrected, spoilt = np.split(np.flatnonzero(truth == 2)[:45], [20])
    labels[spoilt] = np.random.default_rng(0).integers(3, 60, len(spoilt))
    base = np.concatenate([np.flatnonzero(truth < 2), spoilt])
    found = Doubt(embeddings, labels, base).places(base, corrected)
    assert set(found.tolist()) <= set(spoilt.tolist())
    assert len(found) > 0.9 * len(spoilt)


def test_rows_that_say_the_same_vouch_for_each_other() -> None:
    embeddings, labels = _clusters(20, 0.05)
    everything = np.arange(60)
    assert vouched_ratio(embeddings, labels, everything, everything).tolist() == [1.0] * 60
    labels[0] = 2
    assert vouched_ratio(embeddings, labels, everything, np.array([0])).tolist() == [0.0]
    assert vouched_ratio(embeddings, labels, np.array([0]), np.array([0])).tolist() == [0.0], "nobody else is there"
