"""Thresholds: chosen on validation rows, measured on others; and what a bundle keeps for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import BundleError
from core.settings import Settings
from train.abstaining import coverage, scope, thresholds
from train.held import HELD, Held, read_held
from train.teach import TeachReport


def _held(rows: int, seed: int, labels: int = 3) -> Held:
    """Return answers that are right as often as they are sure."""
    random = np.random.default_rng(seed)
    confidences = random.uniform(0.3, 1.0, rows).astype(np.float32)
    truth = random.integers(0, labels, rows)
    answers = np.where(random.random(rows) < confidences, truth, (truth + 1) % labels)
    return Held(truth, answers, confidences)


def test_a_higher_threshold_answers_less_and_better() -> None:
    held = _held(2000, 0)
    curve = coverage(held.confidences, held.answers == held.truth)
    assert curve[0].coverage_ratio == 1.0
    shares = [point.coverage_ratio for point in curve]
    assert shares == sorted(shares, reverse=True)
    assert curve[-1].accuracy is not None
    assert curve[0].accuracy is not None
    assert curve[-1].accuracy.value > curve[0].accuracy.value + 0.2


def test_what_validation_chooses_holds_on_other_rows() -> None:
    chosen_on, other = _held(4000, 1), _held(4000, 2)
    for found in thresholds(chosen_on, other.confidences, other.answers == other.truth, wanted=(0.7, 0.9)):
        assert found.validation is not None
        assert found.measured is not None
        assert found.validation.accuracy is not None
        assert found.measured.accuracy is not None
        assert found.validation.accuracy.value >= found.wanted_accuracy
        assert found.measured.accuracy.value == pytest.approx(found.wanted_accuracy, abs=0.03)
        assert found.chosen_on_rows == 4000


def test_an_accuracy_out_of_reach_has_no_threshold() -> None:
    held = Held(np.zeros(100, np.int64), np.ones(100, np.int64), np.linspace(0.1, 0.9, 100, dtype=np.float32))
    (found,) = thresholds(held, held.confidences, held.answers == held.truth, wanted=(0.95,))
    assert (found.min_score, found.measured) == (None, None)


def test_few_validation_rows_choose_nothing() -> None:
    held = _held(49, 0)
    assert thresholds(held, held.confidences, held.answers == held.truth) == []
    assert thresholds(None, held.confidences, held.answers == held.truth) == []


def _with_outside(seed: int) -> Held:
    inside = _held(1000, seed)
    random = np.random.default_rng(seed + 100)
    return Held(
        np.concatenate([inside.truth, np.full(200, 3)]),
        np.concatenate([inside.answers, random.integers(0, 3, 200)]),
        np.concatenate([np.maximum(inside.confidences, 0.6), random.uniform(0.2, 0.7, 200)]).astype(np.float32),
    )


def test_rows_out_of_scope_are_found_by_a_threshold_that_keeps_the_others() -> None:
    found = scope("none", 3, _with_outside(0), _with_outside(1), in_scope_accuracy=None)
    assert found is not None
    assert found.chosen_on == {"in scope": 1000, "out of scope": 200}
    assert found.measured.out_of_scope_recall > 0.7
    strict = scope("none", 3, _with_outside(0), _with_outside(1), in_scope_accuracy=found.curve[0].in_scope_accuracy)
    assert strict is not None
    assert strict.measured.min_score <= 0.61
    assert strict.validation.in_scope_accuracy >= found.validation.in_scope_accuracy
    hopeless = scope("none", 3, _with_outside(0), _with_outside(1), in_scope_accuracy=1.0)
    assert hopeless is not None
    assert (hopeless.reached, hopeless.measured.min_score) == (False, 0.0)


def test_a_threshold_finds_as_many_as_wanted_and_no_more() -> None:
    few = scope("none", 3, _with_outside(0), _with_outside(1), out_of_scope_recall=0.3)
    many = scope("none", 3, _with_outside(0), _with_outside(1), out_of_scope_recall=0.9)
    assert few is not None
    assert many is not None
    assert few.rule == "the most other rows right with 30.0% of those out of scope found, on validation rows"
    assert 0.3 <= few.validation.out_of_scope_recall < 0.4 < 0.9 <= many.validation.out_of_scope_recall
    assert few.measured.in_scope_accuracy > many.measured.in_scope_accuracy
    # Whatever is asked for, all abstain at most.
    every = scope("none", 3, _with_outside(0), _with_outside(1), out_of_scope_recall=1.0)
    assert every is not None
    assert every.reached == (every.validation.out_of_scope_recall == 1.0)


def test_without_rows_of_both_kinds_there_is_no_scope() -> None:
    assert scope("none", 3, _held(100, 0), _with_outside(1), in_scope_accuracy=None) is None


def test_a_bundle_keeps_what_was_said_before_the_rows_were_learned(taught_once: tuple[Settings, TeachReport]) -> None:
    folder = taught_once[0].home.registry / "versions" / "v1"
    held = read_held(folder)
    assert held is not None
    assert len(held.truth) == 60
    accuracy = taught_once[1].metrics["validation_accuracy"]
    assert float((held.answers == held.truth).mean()) == pytest.approx(accuracy, abs=0.05)


def test_a_damaged_file_is_refused_and_a_missing_one_is_none(tmp_path: Path) -> None:
    assert read_held(tmp_path) is None
    (tmp_path / HELD).write_bytes(b"no")
    with pytest.raises(BundleError, match="validation"):
        read_held(tmp_path)
    _held(5, 0).save(tmp_path / HELD)
    again = read_held(tmp_path)
    assert again is not None
    assert again.truth.tolist() == _held(5, 0).truth.tolist()
