"""Cross-fitting: what a head says of a row is what it would say without it, however it began."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.special import log_softmax

from core.bundle import MANIFEST
from core.text import text_key
from train.crossfit import FOLDS, OutOfFold, cross_fitted, part_of
from train.features import FeatureRows, FloatMatrix, IntVector
from train.head import logits
from train.select import HeadRows, Option


def _rows(base: int, asked: int) -> HeadRows:
    """Return rows of two labels that a first word tells; the asked ones come last and contradict it by a word of their own."""
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, base + asked)
    words = np.zeros((base + asked, 2 + asked), dtype=np.float32)
    words[np.arange(base), labels[:base]] = 1.0
    words[np.arange(base, base + asked), 1 - labels[base:]] = 0.5
    words[np.arange(base, base + asked), 2 + np.arange(asked)] = 0.9
    weights = np.ones(base + asked, dtype=np.float32)
    weights[base:] = 4.0
    places = np.arange(base + asked)
    return HeadRows(FeatureRows(None, csr_matrix(words)), labels, weights, places, np.array([], dtype=np.int64), 2)


def _parts(asked: Sequence[int] | IntVector) -> IntVector:
    return np.arange(len(asked)) % FOLDS


def _option(rows: HeadRows) -> Option:
    head = rows.fit("ngrams", rows.train)
    return Option("ngrams", "ngrams", head, 1.0, None, None, 0.0)


@pytest.mark.parametrize("base", [60, 3_000, 60_000])
def test_what_was_learned_by_heart_is_not_repeated(base: int) -> None:
    rows = _rows(base, asked=6)
    asked = np.arange(base, base + 6)
    option = _option(rows)
    learned = logits(option.head, rows.kind("ngrams").take(asked)).argmax(axis=1)
    answers = cross_fitted(rows, rows.train, asked, option, option.head, lambda _: rows.weights, _parts(asked)).argmax(axis=1)
    if base < 60_000:
        np.testing.assert_array_equal(learned, rows.labels[asked])
    # Without its own row the word of its own means nothing, and the first word is all there is.
    np.testing.assert_array_equal(answers, 1 - rows.labels[asked])


def test_each_part_is_weighed_as_if_it_were_unknown() -> None:
    rows = _rows(40, asked=2 * FOLDS)
    asked = np.arange(40, 40 + 2 * FOLDS)
    parts: list[list[int]] = []

    def weights_without(places: IntVector) -> FloatMatrix:
        parts.append(places.tolist())
        return rows.weights

    option = _option(rows)
    cross_fitted(rows, rows.train, asked, option, option.head, weights_without, _parts(asked))
    # All are forgotten first, then each part is left out alone.
    assert parts[0] == asked.tolist()
    assert sorted(place for part in parts[1:] for place in part) == asked.tolist()
    assert len(parts) == 1 + FOLDS


def _blurred(base: int, asked: int) -> HeadRows:
    """Return rows of two labels whose features overlap, as embeddings do; a fourth of the labels are wrong."""
    random = np.random.default_rng(11)
    labels = random.integers(0, 2, base + asked)
    embeddings = random.normal(size=(base + asked, 60)).astype(np.float32)
    embeddings[:, 0] += np.where(random.random(base + asked) < 0.75, labels, 1 - labels)
    weights = np.ones(base + asked, dtype=np.float32)
    weights[base:] = 4.0
    return HeadRows(FeatureRows(embeddings, None), labels, weights, np.arange(base + asked), np.array([], dtype=np.int64), 2)


def test_nothing_is_left_of_what_was_learned_however_hard_it_is_to_tell() -> None:
    rows = _blurred(400, asked=120)
    asked = np.arange(400, 520)
    head = rows.fit("encoder", rows.train)
    scores = cross_fitted(
        rows,
        rows.train,
        asked,
        Option("encoder", "encoder", head, 1.0, None, None, 0.0),
        head,
        lambda _: rows.weights,
        _parts(asked),
    )
    exact = np.full_like(scores, np.nan)
    for turn in range(FOLDS):
        part = asked[turn::FOLDS]
        alone = rows.fit("encoder", np.setdiff1d(rows.train, part), tolerance=1e-9)
        exact[turn::FOLDS] = logits(alone, rows.features.take(part))

    def likelihood(found: FloatMatrix) -> float:
        return float(log_softmax(found, axis=1)[np.arange(len(asked)), rows.labels[asked]].mean())

    assert likelihood(scores) <= likelihood(exact) + 0.005
    assert likelihood(scores) == pytest.approx(likelihood(exact), abs=0.02)
    assert likelihood(logits(head, rows.features.take(asked))) > likelihood(exact) + 0.1


def test_a_text_is_in_the_same_part_whoever_else_is_asked() -> None:
    keys = [text_key(f"text {number}") for number in range(400)]
    sizes = np.bincount([part_of(key) for key in keys])
    assert len(sizes) == FOLDS
    assert sizes.min() > 60


def test_one_row_is_a_part_of_its_own() -> None:
    rows = _rows(40, asked=1)
    option = _option(rows)
    answers = cross_fitted(rows, rows.train, np.array([40]), option, option.head, lambda _: rows.weights, _parts([40]))
    assert answers.argmax(axis=1).tolist() == [1 - int(rows.labels[40])]


def test_what_only_its_own_part_could_teach_has_no_answer() -> None:
    rows = _rows(2, asked=1)
    option, last = _option(rows), np.array([2])
    alone = cross_fitted(rows, last, last, option, option.head, lambda _: rows.weights, _parts(last))
    assert np.isnan(alone).all()


def test_answers_are_kept_by_the_manifest_wherever_the_bundle_goes(tmp_path: Path) -> None:
    bundle, cache = tmp_path / "staged", tmp_path / "cache"
    bundle.mkdir()
    (bundle / MANIFEST).write_text("{}")
    OutOfFold.of(["a", "b"], ["yes", "no"], np.array([[2.0, 0.0], [0.0, 1.0]], dtype=np.float32)).save(cache, bundle)
    moved = bundle.rename(tmp_path / "registered")
    kept = OutOfFold.load(cache, moved)
    assert [kept.answer(key) for key in ("a", "b")] == ["yes", "no"]
    assert "c" not in kept
    np.testing.assert_allclose(np.exp(kept.scores).sum(axis=1), 1.0, rtol=1e-5)
    # Another manifest, another bundle.
    (moved / MANIFEST).write_text("{ }")
    assert not OutOfFold.load(cache, moved).places


@pytest.mark.parametrize("content", [b"", b"not a tensor file"])
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_text("{}")
    OutOfFold.of(["a"], ["yes", "no"], np.zeros((1, 2), dtype=np.float32)).save(tmp_path / "cache", tmp_path)
    (kept,) = (tmp_path / "cache" / "out-of-fold").iterdir()
    kept.write_bytes(content)
    assert not OutOfFold.load(tmp_path / "cache", tmp_path).places
