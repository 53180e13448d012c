"""How near is near enough: on made rows of which the answer is known."""

from __future__ import annotations

import numpy as np

from train.nearness import LabelledRows, calibrate


def _rows(seed: int, *, spread: float, noise: float = 0.0, count: int = 900, name: str = "v") -> LabelledRows:
    """Return rows around the ten axes of a space; ``noise`` of the labels are drawn by chance."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    vectors = np.eye(40)[labels] + random.normal(0.0, spread, (count, 40))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    flipped = random.random(count) < noise
    labels = np.where(flipped, random.integers(0, 10, count), labels)
    said = np.full((count, 10), 0.02)
    said[np.arange(count), vectors[:, :10].argmax(axis=1)] = 0.82
    texts = [f"{name} {number}" for number in range(count)]
    return LabelledRows(texts, vectors.astype(np.float32), labels, said.astype(np.float32))


def test_where_neighbours_share_their_label_a_similarity_is_found_that_holds_on_other_rows() -> None:
    found = calibrate(_rows(0, spread=0.05), _rows(1, spread=0.05, name="t"))
    assert found.similarity is not None
    assert found.right_low >= 0.99
    assert found.test_answered > 500
    assert found.test_right / found.test_answered >= 0.99


def test_where_one_label_in_ten_is_chance_no_similarity_is_reliable() -> None:
    found = calibrate(_rows(0, spread=0.05, noise=0.1), _rows(1, spread=0.05, noise=0.1, name="t"))
    assert found.similarity is None
    assert (found.answered, found.right, found.test_answered) == (0, 0, 0)


def test_few_rows_prove_nothing() -> None:
    assert calibrate(_rows(0, spread=0.01, count=250), _rows(1, spread=0.01, name="t")).similarity is None


def test_the_same_text_is_no_neighbour_of_itself() -> None:
    rows = _rows(0, spread=5.0)
    twice = LabelledRows(
        [*rows.texts, *rows.texts],
        np.concatenate([rows.embeddings, rows.embeddings]),
        np.concatenate([rows.labels, rows.labels]),
        np.concatenate([rows.probabilities, rows.probabilities]),
    )
    assert calibrate(twice, rows).similarity is None


def test_texts_that_were_predicted_wrong_have_a_veto() -> None:
    """All neighbours are right but those of the rows that were predicted wrong, of which a memory consists."""
    rows = _rows(0, spread=0.05, count=3_000)
    labels, said = rows.labels.copy(), rows.probabilities.copy()
    # Two rows of each class are wrongly labelled, so that the head, which goes by the axes, is wrong about them.
    odd = np.concatenate([np.flatnonzero(labels == code)[:2] for code in range(10)])
    labels[odd] = (labels[odd] + 1) % 10
    spoilt = LabelledRows(rows.texts, rows.embeddings, labels, said)
    fair = calibrate(rows, _rows(1, spread=0.05, name="t"))
    vetoed = calibrate(spoilt, _rows(1, spread=0.05, name="t"))
    assert fair.similarity is not None
    assert vetoed.similarity is None or vetoed.similarity > fair.similarity


def test_the_test_part_chooses_nothing() -> None:
    validation = _rows(0, spread=0.05)
    good, bad = (calibrate(validation, _rows(seed, spread=0.05, noise=noise, name="t")) for seed, noise in ((1, 0.0), (2, 0.9)))
    assert good.similarity == bad.similarity
    assert bad.test_right < bad.test_answered
