"""What holds back a run that is due, by a clock that is given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.schemas import FitSpeed, RunAnswer, RunState
from core.timetable import QuietHours
from train.holding import Limits, Past, expected_s

_NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def ended(
    at_s: float, *, state: RunState = "succeeded", promoted: bool | None = False, took_s: float = 10.0, speed: FitSpeed = "head"
) -> RunAnswer:
    """Return a run that ended ``at_s`` after noon."""
    end = _NOON + timedelta(seconds=at_s)
    return RunAnswer(
        run_id="r",
        state=state,
        speed=speed,
        trigger="count",
        note=None,
        created_at=end - timedelta(seconds=took_s),
        started_at=end - timedelta(seconds=took_s),
        ended_at=end,
        stage=None,
        progress_ratio=1.0,
        remaining_s=None,
        metrics={},
        snapshot=None,
        version=None,
        promoted=promoted,
        error=None,
        chosen=speed,
    )


def _at(seconds: float) -> datetime:
    return _NOON + timedelta(seconds=seconds)


def test_quiet_hours_hold_until_they_end() -> None:
    hold = Limits(quiet=QuietHours.parse("08:00-18:00")).hold(Past(), _NOON)
    assert hold is not None
    assert (hold.by, hold.until, hold.why) == ("quiet_hours", _NOON.replace(hour=18), "quiet hours until 18:00")


_BACK_OFF = Limits(back_off_s=60.0, back_off_max_s=1000.0)


@pytest.mark.parametrize(("failures", "wait_s"), [(1, 60), (2, 120), (3, 240), (5, 960), (6, 1000), (60, 1000)])
def test_the_wait_doubles_with_every_run_in_vain_up_to_a_limit(failures: int, wait_s: float) -> None:
    past = Past([ended(-number, state="failed", promoted=None) for number in range(failures)])
    hold = _BACK_OFF.hold(past, _at(wait_s - 1))
    assert hold is not None
    assert (hold.by, hold.until) == ("back_off", _at(wait_s))
    assert _BACK_OFF.hold(past, _at(wait_s)) is None


def test_a_run_that_was_promoted_ends_the_waiting() -> None:
    assert _BACK_OFF.hold(Past([ended(0, promoted=True), ended(-1, state="failed")]), _at(1)) is None


def test_a_run_that_was_stopped_neither_makes_nor_ends_the_waiting() -> None:
    past = Past([ended(5, state="cancelled"), ended(0, state="failed")])
    hold = _BACK_OFF.hold(past, _at(6))
    assert hold is not None
    assert hold.until == _at(60)


def test_the_days_budget_holds_until_midnight() -> None:
    limits = Limits(budget_s=100.0)
    today = [ended(0, took_s=70.0)]
    assert limits.budget_left_s(Past(today=today), _at(1)) == pytest.approx(30.0)
    assert limits.hold(Past(today=today), _at(1), expected_s=30.0) is None
    hold = limits.hold(Past(today=today), _at(1), expected_s=31.0)
    assert hold is not None
    assert (hold.by, hold.until) == ("budget", datetime(2026, 11, 29, tzinfo=UTC))


def test_of_a_run_over_midnight_only_todays_part_counts() -> None:
    midnight = -12 * 3600.0
    past = Past(today=[ended(midnight + 20, took_s=50.0)])
    assert Limits(budget_s=100.0).budget_left_s(past, _NOON) == pytest.approx(80.0)


def test_a_run_that_no_day_could_afford_starts_on_a_fresh_one_or_is_the_heads() -> None:
    limits = Limits(budget_s=100.0)
    assert limits.hold(Past(), _NOON, expected_s=1e6) is None
    past = Past([ended(0, took_s=500.0, speed="full")])
    assert limits.affordable("full", past) == "head"
    assert limits.affordable("auto", past) == "auto"
    assert Limits().affordable("full", past) == "full"


def test_what_a_run_takes_is_told_by_those_of_its_speed() -> None:
    past = Past([ended(0, took_s=4.0), ended(0, took_s=500.0, speed="full"), ended(0, took_s=6.0), ended(0, took_s=5.0)])
    assert (expected_s("head", past), expected_s("auto", past), expected_s("full", past)) == (5.0, 5.0, 500.0)
    assert expected_s("head", Past()) == 0.0


_RUNS = st.lists(
    st.builds(
        ended,
        st.floats(-1e5, 0),
        state=st.sampled_from(["succeeded", "failed", "cancelled"]),
        promoted=st.booleans(),
        took_s=st.floats(0, 1e5),
        speed=st.sampled_from(["head", "full"]),
    ),
    max_size=8,
)


@given(_RUNS, st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e4))
def test_whatever_holds_ends_and_then_nothing_holds_for_the_same_reason(
    runs: list[RunAnswer], since_s: float, expected: float, budget_s: float
) -> None:
    limits = Limits(QuietHours.parse("09:00-17:30"), 60.0, 3600.0, budget_s)
    runs.sort(key=lambda run: run.ended_at or _NOON, reverse=True)
    moment = _at(since_s)
    left_s = limits.budget_left_s(Past(runs, runs), moment)
    assert left_s is None or 0.0 <= left_s <= budget_s
    for _ in range(4):
        hold = limits.hold(Past(runs, runs), moment, expected)
        if hold is None:
            return
        assert hold.until > moment
        moment = hold.until
    raise AssertionError("it holds for ever")
