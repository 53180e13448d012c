"""A mix of labels that differs from what was learned is followed; one that does not, or that texts tell, is let be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from core.classifier import Head
from core.errors import BundleError
from train.label_shift import LABEL_SHIFT, LEAST_DRAWN_ROWS, SPREADS, Estimate, LabelShift, likeliest

_LABELS = ("a", "b", "c")


def _drawn(rows: int, offsets: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits, labels that occur as these say once the offsets are added, and parts."""
    random = np.random.default_rng(seed)
    logits = random.normal(0.0, 1.5, (rows, len(offsets)))
    chances = softmax(logits + np.array(offsets), axis=1)
    labels = np.array([random.choice(len(offsets), p=chance) for chance in chances], dtype=np.int64)
    return logits.astype(np.float32), labels, np.arange(rows) % 4


def test_a_shifted_mix_is_found() -> None:
    found = Estimate.of(*_drawn(1_500, [1.0, -0.5, -0.5]))
    np.testing.assert_allclose(found.offsets - found.offsets.mean(), [1.0, -0.5, -0.5], atol=0.2)
    assert sorted(found.without) == [0, 1, 2, 3]


def test_where_nothing_is_shifted_next_to_nothing_is_found() -> None:
    moved = [np.abs(Estimate.of(*_drawn(400, [0.0, 0.0, 0.0], seed)).offsets).max() for seed in range(40)]
    # Two standard errors are passed by chance once in forty times, for each spread until one does not pay.
    assert sum(size > 0.0 for size in moved) <= 4
    assert max(moved) < 0.5


def test_a_change_that_the_texts_tell_needs_no_offsets() -> None:
    """Label 0 is nine times as frequent because its texts are, and the logits say so of each of them."""
    random = np.random.default_rng(1)
    labels = random.choice(3, 900, p=[0.9, 0.05, 0.05])
    logits = (3.0 * np.eye(3)[labels] + random.gumbel(size=(900, 3))).astype(np.float32)
    truth = np.array([random.choice(3, p=chance) for chance in softmax(logits, axis=1)], dtype=np.int64)
    assert np.abs(Estimate.of(logits, truth, np.arange(900) % 4).offsets).max() < 0.35


def test_a_part_is_told_nothing_of_its_own_labels() -> None:
    logits, labels, parts = _drawn(800, [1.2, 0.0, -1.2])
    found = Estimate.of(logits, labels, parts).without[2]
    others = parts != 2
    told = [likeliest(logits[others].astype(np.float64), labels[others], spread, np.zeros(3)) for spread in SPREADS]
    assert min(np.abs(found - offsets).max() for offsets in told) < 0.01
    assert np.abs(found).max() > 0.5


def test_few_rows_shift_nothing() -> None:
    logits, labels, parts = _drawn(LEAST_DRAWN_ROWS - 1, [3.0, -3.0, 0.0])
    assert not Estimate.of(logits, labels, parts).offsets.any()
    nobody = Estimate.of(np.empty((0, 3), np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
    assert not nobody.offsets.any()
    assert not nobody.without


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.integers(0, 1_000), st.floats(0.2, 3.0))
def test_what_is_shifted_can_be_undone(offsets: list[float], seed: int, temperature: float) -> None:
    shift = LabelShift.of(_LABELS, np.array(offsets))
    random = np.random.default_rng(seed)
    head = Head(random.normal(size=(4, 3)).astype(np.float32), None, random.normal(size=3).astype(np.float32))
    rows = random.normal(size=(5, 4)).astype(np.float32)

    def answers(one: Head) -> np.ndarray:
        assert one.encoder is not None
        return softmax((rows @ one.encoder + one.bias) / np.float32(temperature), axis=1)

    shifted = answers(shift.applied(head, _LABELS, temperature))
    np.testing.assert_allclose(shift.undone(shifted, _LABELS), answers(head), atol=1e-4)
    np.testing.assert_allclose(
        log_softmax(np.log(answers(head)) + np.array([shift.offsets.get(name, 0.0) for name in _LABELS]), axis=1),
        np.log(shifted),
        atol=1e-3,
    )


def test_offsets_are_the_likeliest_for_their_spread() -> None:
    logits, labels, _ = _drawn(300, [0.8, 0.0, -0.8])
    wide, narrow = (likeliest(logits.astype(np.float64), labels, spread, np.zeros(3)) for spread in (1.8, 0.1))
    assert np.abs(wide).max() > np.abs(narrow).max() > 0.0


def test_it_is_kept_with_the_bundle(tmp_path: Path) -> None:
    LabelShift().save(tmp_path)
    assert not (tmp_path / LABEL_SHIFT).exists()
    assert LabelShift.load(tmp_path) == LabelShift()
    shift = LabelShift.of(("政治", "b", "c"), np.array([0.25, 0.0, -1.5]))
    shift.save(tmp_path)
    assert LabelShift.load(tmp_path).offsets == {"政治": 0.25, "c": -1.5}
    (tmp_path / LABEL_SHIFT).write_text("[1]", encoding="utf-8")
    with pytest.raises(BundleError, match="does not hold a number for each label"):
        LabelShift.load(tmp_path)
