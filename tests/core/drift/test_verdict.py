"""Many detectors, one verdict: Holm's levels, what is known, and what nobody can tell."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.drift.detector import Score
from core.drift.verdict import GROWTH, decide


def test_levels_are_holms_and_stop_at_the_first_that_holds() -> None:
    scores = {"a": Score(1.0, 0.02), "b": Score(1.0, 0.001), "c": Score(1.0, 0.04), "d": None}
    found = {item.detector: item for item in decide(scores, 0.03)}
    assert [found[name].verdict for name in "abcd"] == ["quiet", "drift", "quiet", "unknown"]
    assert [found[name].limit for name in "bac"] == [0.01, 0.015, 0.03]


def test_drift_that_was_taken_note_of_is_known_until_it_grows() -> None:
    score = {"a": Score(0.3, 1e-6)}
    assert decide(score, 0.01)[0].verdict == "drift"
    assert decide(score, 0.01, {"a": 0.3})[0].verdict == "known"
    assert decide({"a": Score(0.31 * GROWTH, 1e-6)}, 0.01, {"a": 0.3})[0].verdict == "drift"
    assert decide({"a": Score(0.3, 0.5)}, 0.01, {"a": 0.3})[0].verdict == "quiet"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.floats(0.001, 0.4))
def test_what_is_drift_at_bonferronis_level_is_drift_and_nothing_above_alpha_is(values: list[float], alpha: float) -> None:
    found = decide({str(place): Score(1.0, value) for place, value in enumerate(values)}, alpha)
    for item, value in zip(found, values, strict=True):
        if value <= alpha / len(values):
            assert item.verdict == "drift"
        if value > alpha:
            assert item.verdict == "quiet"
