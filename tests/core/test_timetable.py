"""Cron expressions and quiet hours: moments in a time zone, and one sentence for what is neither."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.settings import Settings
from core.timetable import Cron, QuietHours, end_of_day, start_of_day, zone_of

_BERLIN = ZoneInfo("Europe/Berlin")
_MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))
_CLOCK = st.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")


def test_a_schedule_goes_by_its_time_zone() -> None:
    cron = Cron.parse("0 3 * * 1-5", _BERLIN)
    assert cron is not None
    # Saturday; the next weekday is Monday, at 02:00 UTC in winter.
    assert cron.next(datetime(2026, 11, 28, 12, tzinfo=UTC)) == datetime(2026, 11, 30, 2, tzinfo=UTC)


def test_an_hour_that_the_clock_leaves_out_or_has_twice_counts_once() -> None:
    cron = Cron.parse("30 2 * * *", _BERLIN)
    assert cron is not None
    for first, last in (((2026, 3, 28, 12), (2026, 3, 30, 12)), ((2026, 10, 24, 12), (2026, 10, 26, 12))):
        moment, end = datetime(*first, tzinfo=UTC), datetime(*last, tzinfo=UTC)
        found = []
        while (moment := cron.next(moment)) < end:
            found.append(moment)
        assert len(found) == 2


@given(_MOMENTS)
def test_the_next_moment_is_later_and_none_lies_between(moment: datetime) -> None:
    cron = Cron.parse("*/7 1-5 * * *", _BERLIN)
    assert cron is not None
    found = cron.next(moment)
    assert found > moment
    assert cron.next(found - timedelta(seconds=1)) == found


@pytest.mark.parametrize("text", ["nonsense", "0 3 * *", "0 3 * * 1-5 2026", "61 * * * *", "0 0 30 2 *", "@daily"])
def test_what_is_no_cron_expression_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(learn_cron=text)
    (error,) = caught.value.errors()
    assert "is no cron expression" in error["msg"]
    assert "0 3 * * 1-5" in error["msg"]


@pytest.mark.parametrize("text", ["8-18", "08:00-08:00", "25:00-26:00", "08:00-24:30", "08:00", "00:00-12:00,12:00-24:00"])
def test_what_names_no_quiet_hours_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Settings(learn_quiet_hours=text)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="no time zone"):
        Settings(learn_time_zone="Mars/Olympus")


@given(_CLOCK, _CLOCK, _MOMENTS)
def test_quiet_hours_end_at_the_first_moment_outside_of_them(start: str, end: str, moment: datetime) -> None:
    if start == end:
        return
    quiet = QuietHours.parse(f"{start}-{end}", _BERLIN)
    assert quiet is not None
    found = quiet.end(moment)
    assert not quiet.cover(found)
    if quiet.cover(moment):
        assert quiet.cover(found - timedelta(minutes=1))
        assert (
            f"{found.astimezone(_BERLIN):%H:%M}" == end
            or found.astimezone(_BERLIN).utcoffset() != moment.astimezone(_BERLIN).utcoffset()
        )
    else:
        assert found == moment


@given(_CLOCK, _CLOCK, _MOMENTS)
def test_a_range_and_its_reverse_share_no_minute_and_leave_none(start: str, end: str, moment: datetime) -> None:
    if start == end:
        return
    one, other = QuietHours.parse(f"{start}-{end}"), QuietHours.parse(f"{end}-{start}")
    assert one is not None
    assert other is not None
    assert one.cover(moment) != other.cover(moment)


@given(_MOMENTS)
def test_a_day_holds_its_moments(moment: datetime) -> None:
    first, last = start_of_day(moment, _BERLIN), end_of_day(moment, _BERLIN)
    assert first <= moment < last
    assert timedelta(hours=23) <= last - first <= timedelta(hours=25)
    assert zone_of("UTC") is UTC
