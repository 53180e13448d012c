"""Accuracy without labels: right where confidences keep their meaning, with an interval that covers."""

from __future__ import annotations

import numpy as np
import pytest

from core.drift.estimating import CHOSEN, METHODS, Method, calibrate, correct, estimate_without_labels


def _draw(random: np.random.Generator, rows: int, a: float) -> tuple[np.ndarray, np.ndarray]:
    confidences = random.beta(a, 2, rows)
    return confidences, random.random(rows) < confidences


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_a_window_like_the_reference_is_guessed_closely(method: Method) -> None:
    random = np.random.default_rng(1)
    reference, right = _draw(random, 2_000, 6)
    window, truth = _draw(random, 2_000, 6)
    found = estimate_without_labels(reference, right, window, method)
    assert found is not None
    assert found.accuracy == pytest.approx(truth.mean(), abs=0.03)


def test_a_harder_window_is_guessed_to_be_worse() -> None:
    random = np.random.default_rng(2)
    reference, right = _draw(random, 2_000, 8)
    easy, hard = (estimate_without_labels(reference, right, _draw(random, 500, a)[0]) for a in (8, 3))
    assert easy is not None
    assert hard is not None
    assert hard.high < easy.low


def test_the_interval_covers_where_nothing_changed() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(60):
        reference, right = _draw(random, 500, 6)
        window, truth = _draw(random, 200, 6)
        found = estimate_without_labels(reference, right, window, CHOSEN)
        assert found is not None
        assert found.low <= found.accuracy <= found.high
        covered += found.low <= truth.mean() <= found.high
    assert covered >= 53


def test_every_method_of_the_setting_is_there() -> None:
    from typing import get_args

    from core.settings import Settings

    named = Settings.model_fields["drift_estimator"]
    assert get_args(named.annotation) == tuple(METHODS)
    assert METHODS[named.default] is CHOSEN


def test_too_few_rows_say_nothing() -> None:
    random = np.random.default_rng(4)
    reference, right = _draw(random, 100, 6)
    assert estimate_without_labels(reference, right, reference[:29]) is None
    assert estimate_without_labels(reference[:29], right[:29], reference) is None


def test_calibration_takes_away_what_the_reference_is_too_sure_of() -> None:
    reference, right = np.full(400, 0.9), np.arange(400) % 10 < 7
    expected, error = calibrate(reference, right, np.array([0.9, 0.5, 0.1]))
    assert expected.tolist() == pytest.approx([0.7, 0.3, 0.0])
    assert error == pytest.approx(np.sqrt(0.21 / 400), rel=0.01)


def test_audited_answers_correct_a_guess_the_more_the_more_there_are() -> None:
    right = np.arange(400) % 10 < 7
    few, many = correct(0.9, 0.9, right[:40]), correct(0.9, 0.9, right)
    assert few is not None
    assert many is not None
    assert 0.7 < many < few < 0.9
    assert correct(0.9, 0.9, right[:29]) is None
