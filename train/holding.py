"""What holds back a run that is due: quiet hours, a wait after runs that brought nothing, the day's budget.

A run that a person asks for passes all of them. Everything here is arithmetic with a given clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from statistics import median
from typing import Literal

from core.schemas import LIVE_STATES, FitSpeed, RunAnswer, RunSpeed
from core.settings import Settings
from core.timetable import QuietHours, end_of_day, start_of_day, zone_of

# Of the latest runs at a speed; one that met a busy machine must not decide alone.
_JUDGED_RUNS = 5
# 2 to the power of this times any wait above a second is more than a century.
_MOST_DOUBLINGS = 32


@dataclass(frozen=True)
class Hold:
    """What holds a run back, and until when."""

    by: Literal["quiet_hours", "back_off", "budget"]
    until: datetime
    why: str


@dataclass(frozen=True)
class Past:
    """Runs that were: the latest ones, and those at work today, both newest first."""

    latest: Sequence[RunAnswer] = ()
    today: Sequence[RunAnswer] = ()


@dataclass(frozen=True)
class Limits:
    """When runs may start by themselves; 0 and None are no limit."""

    quiet: QuietHours | None = None
    back_off_s: float = 0.0
    back_off_max_s: float = math.inf
    budget_s: float = 0.0
    zone: tzinfo = UTC

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the limits of these settings."""
        zone = zone_of(settings.learn_time_zone)
        return cls(
            QuietHours.parse(settings.learn_quiet_hours, zone),
            settings.learn_back_off_s,
            settings.learn_back_off_max_s,
            settings.learn_budget_per_day_s,
            zone,
        )

    def hold(self, past: Past, now: datetime, expected_s: float = 0.0) -> Hold | None:
        """Return what holds back, for longest, a run that takes ``expected_s``; None when it may start now."""
        holds = [found for found in (self._quiet(now), self._back_off(past, now), self._budget(past, now, expected_s)) if found]
        return max(holds, key=lambda found: found.until, default=None)

    def budget_left_s(self, past: Past, now: datetime) -> float | None:
        """Return how many seconds of today's budget are left, None where there is no budget."""
        if not self.budget_s:
            return None
        today = start_of_day(now, self.zone)
        spent = sum(_seconds_between(run, today, now) for run in past.today)
        return max(0.0, self.budget_s - spent)

    def affordable(self, speed: RunSpeed, past: Past) -> RunSpeed:
        """Return ``head`` instead of ``full`` where a whole day's budget is too little for it, else ``speed``."""
        too_much = bool(self.budget_s) and expected_s("full", past) > self.budget_s
        return "head" if speed == "full" and too_much else speed

    def _quiet(self, now: datetime) -> Hold | None:
        if self.quiet is None or not self.quiet.cover(now):
            return None
        until = self.quiet.end(now)
        return Hold("quiet_hours", until, f"quiet hours until {until.astimezone(self.zone):%H:%M}")

    def _back_off(self, past: Past, now: datetime) -> Hold | None:
        brought_nothing = 0
        ended_at = None
        for run in past.latest:
            if run.state in (*LIVE_STATES, "cancelled"):
                continue
            # What waits for a person's approval has brought something.
            if run.state == "succeeded" and run.promoted is not False:
                break
            brought_nothing += 1
            ended_at = ended_at or run.ended_at or run.created_at
        if not brought_nothing or ended_at is None:
            return None
        wait_s = min(self.back_off_max_s, self.back_off_s * 2 ** min(brought_nothing - 1, _MOST_DOUBLINGS))
        until = ended_at + timedelta(seconds=wait_s)
        if now >= until:
            return None
        runs = "run" if brought_nothing == 1 else f"{brought_nothing} runs"
        return Hold("back_off", until, f"the last {runs} failed or changed nothing; waiting {wait_s:.0f} s after it")

    def _budget(self, past: Past, now: datetime, expected_s: float) -> Hold | None:
        left_s = self.budget_left_s(past, now)
        # With the whole day's budget at hand it starts however long it may take: on no other day would it have more.
        if left_s is None or left_s >= min(expected_s, self.budget_s) > 0 or (left_s > 0 and not expected_s):
            return None
        return Hold(
            "budget",
            end_of_day(now, self.zone),
            f"{left_s:.0f} of {self.budget_s:g} s of training are left today, and a run takes about {expected_s:.0f} s",
        )


def expected_s(speed: RunSpeed, past: Past) -> float:
    """Return how long a run at ``speed`` takes (of ``auto``: its head) by those that succeeded lately, 0 where none did."""
    wanted: FitSpeed = "full" if speed == "full" else "head"
    took = [
        (run.ended_at - run.started_at).total_seconds()
        for run in past.latest
        if run.state == "succeeded" and run.started_at and run.ended_at and (run.chosen or run.speed) == wanted
    ]
    return median(took[:_JUDGED_RUNS]) if took else 0.0


def _seconds_between(run: RunAnswer, since: datetime, now: datetime) -> float:
    if run.started_at is None:
        return 0.0
    return max(0.0, (min(run.ended_at or now, now) - max(run.started_at, since)).total_seconds())
