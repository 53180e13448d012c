"""Errors over time: exact places on seeded streams, and a shortfall that is seen where scores promise too much."""

from __future__ import annotations

import numpy as np
import pytest

from core.drift.errors import Outcome, rises, shortfall


def _stream(seed: int, *parts: tuple[int, float]) -> list[Outcome]:
    random = np.random.default_rng(seed)
    return [Outcome(0.9, bool(right)) for rows, accuracy in parts for right in random.random(rows) < accuracy]


def test_a_rise_of_errors_is_found_at_the_same_place_every_time() -> None:
    found = rises(_stream(1, (500, 0.95), (500, 0.6)))
    assert [place for place, _ in found] == [575]
    assert all(size > 0 for _, size in found)


def test_errors_that_become_rarer_are_no_alarm() -> None:
    assert rises(_stream(2, (500, 0.6), (500, 0.95))) == []


def test_a_stream_without_change_is_quiet() -> None:
    assert sum(bool(rises(_stream(seed, (1000, 0.85)))) for seed in range(20)) <= 1


def test_a_shortfall_is_what_confidence_promises_less_what_is_right() -> None:
    outcomes = _stream(3, (200, 0.6))
    right = sum(outcome.right for outcome in outcomes) / 200
    score = shortfall(outcomes, [0.9] * 200)
    assert score is not None
    assert score.size == pytest.approx(0.9 - right)
    assert score.p_value < 1e-6


def test_no_shortfall_gives_uniform_p_values() -> None:
    random = np.random.default_rng(4)
    found = []
    for _ in range(400):
        promised = random.beta(8, 2, 100)
        outcomes = [Outcome(float(p), bool(random.random() < p)) for p in promised]
        score = shortfall(outcomes, promised.tolist())
        assert score is not None
        found.append(score.p_value)
    assert 0.02 <= np.mean(np.array(found) <= 0.05) <= 0.09


def test_an_unsure_calibration_makes_a_shortfall_less_sure() -> None:
    outcomes = _stream(5, (200, 0.85))
    sure, unsure = shortfall(outcomes, [0.9] * 200), shortfall(outcomes, [0.9] * 200, 0.05)
    assert sure is not None
    assert unsure is not None
    assert unsure.p_value > sure.p_value


def test_few_outcomes_say_nothing() -> None:
    assert shortfall(_stream(6, (29, 0.1)), [0.9] * 29) is None
