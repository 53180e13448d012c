"""Times of day in a time zone: a cron expression, and hours in which nothing may start.

What an operator writes is checked when the settings are read, and answered with one sentence that says what would be allowed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_HOURS = re.compile(r"\s*([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-4]):([0-5]\d)\s*")
_MINUTES_A_DAY = 24 * 60


def zone_of(name: str) -> tzinfo:
    """Return the time zone of that name.

    Raises:
        ValueError: there is none.

    >>> zone_of("Europe/Berlin").key
    'Europe/Berlin'
    """
    if name == "UTC":
        # Known also where no time zone data is installed.
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; a name like UTC or Europe/Berlin is") from None


@dataclass(frozen=True)
class Cron:
    """Moments given by a cron expression of five fields, in a time zone."""

    expression: str
    zone: tzinfo = UTC

    @classmethod
    def parse(cls, text: str, zone: tzinfo = UTC) -> Cron | None:
        """Return the schedule, None for an empty text.

        Raises:
            ValueError: it is no cron expression, or one that never comes true.

        >>> Cron.parse("0 3 * * 1-5").next(datetime(2026, 11, 28, tzinfo=UTC)).isoformat()
        '2026-11-30T03:00:00+00:00'
        """
        if not text.strip():
            return None
        found = cls(text.strip(), zone)
        problem = "" if len(text.split()) == 5 else "it has five fields, separated by spaces"
        if not problem:
            problem = found._problem()
        if problem:
            raise ValueError(
                f"{text!r} is no cron expression ({problem}); minute, hour, day, month and weekday are, such as 0 3 * * 1-5"
            )
        return found

    def next(self, after: datetime) -> datetime:
        """Return the first moment after ``after``, in UTC. Hours that the clock leaves out or has twice count once."""
        # Loaded only where there is a schedule; the settings are read by every command.
        from cronsim import CronSim

        moment: datetime = next(CronSim(self.expression, after.astimezone(self.zone)))
        return moment.astimezone(UTC)

    def _problem(self) -> str:
        from cronsim import CronSimError

        try:
            self.next(datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            return str(error)
        except StopIteration:
            return "no day is like that"
        return ""


@dataclass(frozen=True)
class QuietHours:
    """Times of day in a time zone, as minutes from midnight; a range that ends before it begins goes on over midnight."""

    ranges: Sequence[tuple[int, int]]
    zone: tzinfo = UTC

    @classmethod
    def parse(cls, text: str, zone: tzinfo = UTC) -> QuietHours | None:
        """Return the hours, None for an empty text.

        Raises:
            ValueError: it does not name hours, or leaves none that are not quiet.

        >>> QuietHours.parse("22:00-06:30").ranges
        ((1320, 390),)
        """
        if not text.strip():
            return None
        found = cls(tuple(_range(part) for part in text.split(",")), zone)
        if all(found._quiet(minute) for minute in range(_MINUTES_A_DAY)):
            raise ValueError(f"{text!r} leaves no minute of the day in which something may start")
        return found

    def cover(self, moment: datetime) -> bool:
        """Return whether ``moment`` is in them."""
        local = moment.astimezone(self.zone)
        return self._quiet(local.hour * 60 + local.minute)

    def end(self, moment: datetime) -> datetime:
        """Return the first moment from ``moment`` on that is not in them, in UTC."""
        # By the minute in UTC: where the clock is set forward or back in between, the wall clock alone would mislead.
        found = moment.astimezone(UTC)
        while self.cover(found):
            found = found.replace(second=0, microsecond=0) + timedelta(minutes=1)
        return found

    def _quiet(self, minute: int) -> bool:
        return any(start <= minute < end if start < end else minute >= start or minute < end for start, end in self.ranges)


def start_of_day(moment: datetime, zone: tzinfo) -> datetime:
    """Return the midnight before ``moment`` in ``zone``, in UTC."""
    return datetime.combine(moment.astimezone(zone).date(), time(), tzinfo=zone).astimezone(UTC)


def end_of_day(moment: datetime, zone: tzinfo) -> datetime:
    """Return the midnight after ``moment`` in ``zone``, in UTC."""
    return datetime.combine(moment.astimezone(zone).date() + timedelta(days=1), time(), tzinfo=zone).astimezone(UTC)


def _range(text: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text.strip()!r} is no range of hours; one like 08:00-18:00 is, several with commas")
    hours = [int(found) for found in match.groups()]
    start, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if start == end or end > _MINUTES_A_DAY:
        raise ValueError(f"{text.strip()!r} is no range of hours; it begins and ends at different times, 24:00 the latest")
    return start, end
