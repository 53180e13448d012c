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
from train.label_shift import LABEL_SHIFT, LEAST_DRAWN_ROWS, SPREADS, Estimate, LabelShift, Scored, likeliest

_LABELS = ("a", "b", "c")


_NOBODY = Scored(np.empty((0, 3)), np.empty(0, np.int64))


def _drawn(rows: int, offsets: list[float], seed: int = 0) -> tuple[Scored, np.ndarray]:
    """Return rows whose labels occur as their logits say once the offsets are added, and parts."""
    random = np.random.default_rng(seed)
    logits = random.normal(0.0, 1.5, (rows, len(offsets)))
    chances = softmax(logits + np.array(offsets), axis=1)
    labels = np.array([random.choice(len(offsets), p=chance) for chance in chances], dtype=np.int64)
    return Scored(logits, labels), np.arange(rows) % 4


def _offsets(rows: Scored, parts: np.ndarray, held: Scored = _NOBODY) -> np.ndarray:
    return Estimate.of(rows, parts, held).offsets


def test_a_shifted_mix_is_found() -> None:
    found = Estimate.of(*_drawn(1_500, [1.0, -0.5, -0.5]), _NOBODY)
    np.testing.assert_allclose(found.offsets - found.offsets.mean(), [1.0, -0.5, -0.5], atol=0.2)
    assert sorted(found.without) == [0, 1, 2, 3]


def test_where_nothing_is_shifted_next_to_nothing_is_found() -> None:
    moved = [np.abs(_offsets(*_drawn(400, [0.0, 0.0, 0.0], seed))).max() for seed in range(40)]
    assert sum(size > 0.0 for size in moved) <= 2
    assert max(moved) < 0.5


def test_a_change_that_the_texts_tell_needs_no_offsets() -> None:
    """Label 0 is nine times as frequent because its texts are, and the logits say so of each of them."""
    random = np.random.default_rng(1)
    labels = random.choice(3, 900, p=[0.9, 0.05, 0.05])
    logits = 3.0 * np.eye(3)[labels] + random.gumbel(size=(900, 3))
    truth = np.array([random.choice(3, p=chance) for chance in softmax(logits, axis=1)], dtype=np.int64)
    assert np.abs(_offsets(Scored(logits, truth), np.arange(900) % 4)).max() < 0.35


def test_a_label_that_was_not_drawn_stays_as_likely_as_it_was() -> None:
    """Traffic that brings new labels for a while must not make the old ones be forgotten."""
    random = np.random.default_rng(2)
    drawn, parts = _drawn(1_200, [0.8, -0.8])
    # Two more labels, which the head takes some of these rows for, and traffic has none of.
    rows = Scored(np.hstack([drawn.logits, random.normal(0.0, 1.5, (1_200, 2))]), drawn.truth)
    offsets = _offsets(rows, parts)
    assert offsets[0] - offsets[1] == pytest.approx(1.6, abs=0.3)
    assert offsets[2:].tolist() == [0.0, 0.0]
    # Nor are those that were drawn likelier than they, taken together.
    often = np.bincount(drawn.truth)
    assert often @ offsets[:2] == pytest.approx(0.0, abs=1e-6)


def test_what_held_out_rows_cannot_bear_is_not_done() -> None:
    rows, parts = _drawn(1_500, [2.0, -1.0, -1.0])
    random = np.random.default_rng(3)
    truth = np.arange(600) % 3
    held = Scored(1.5 * np.eye(3)[truth] + random.normal(0.0, 1.0, (600, 3)), truth)
    free, spared = _offsets(rows, parts), _offsets(rows, parts, held)
    assert held.right(np.zeros(3)) - held.right(free) > 30
    assert held.right(np.zeros(3)) - held.right(spared) <= 30
    assert np.abs(spared).max() < np.abs(free).max()


def test_a_part_is_told_nothing_of_its_own_labels() -> None:
    rows, parts = _drawn(800, [1.2, 0.0, -1.2])
    found = Estimate.of(rows, parts, _NOBODY).without[2]
    told = [likeliest(rows.take(parts != 2), spread, np.zeros(3)) for spread in SPREADS]
    assert min(np.abs(found - offsets).max() for offsets in told) < 0.01
    assert np.abs(found).max() > 0.5


def test_few_rows_shift_nothing() -> None:
    assert not _offsets(*_drawn(LEAST_DRAWN_ROWS - 1, [3.0, -3.0, 0.0])).any()
    nobody = Estimate.of(_NOBODY, np.empty(0, np.int64), _NOBODY)
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
    rows, _ = _drawn(300, [0.8, 0.0, -0.8])
    wide, narrow = (likeliest(rows, spread, np.zeros(3)) for spread in (1.8, 0.1))
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
