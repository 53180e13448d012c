"""When to learn without being asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from core.drift_bodies import DriftAlarm
from core.schemas import LIVE_STATES, RunAnswer, Trigger
from core.settings import Settings
from core.timetable import Cron, zone_of


@dataclass(frozen=True)
class Due:
    """A reason to learn now."""

    trigger: Trigger
    note: str


@dataclass(frozen=True)
class Triggers:
    """The settings that start runs; 0, and no schedule, turn a trigger off."""

    after_corrections: int
    every_s: float
    cron: Cron | None = None

    @classmethod
    def of(cls, settings: Settings) -> Triggers:
        """Return the triggers of these settings."""
        cron = Cron.parse(settings.learn_cron, zone_of(settings.learn_time_zone))
        return cls(settings.learn_after_corrections, settings.learn_every_s, cron)

    def due(
        self,
        *,
        new_corrections: int,
        last_run: RunAnswer | None,
        started_at: datetime,
        now: datetime,
        alarm: DriftAlarm | None = None,
    ) -> Due | None:
        """Return why a run is due, or None.

        Args:
            new_corrections: corrections since the last run looked at them.
            last_run: the newest run in any state.
            started_at: when this learner started, from which schedules count while there is no run.
            now: the present time.
            alarm: a drift alarm that is open. It starts a run once something was corrected since the last one: without new
                labels a run would see what the last one saw.
        """
        if last_run is not None and last_run.state in LIVE_STATES:
            return None
        if self.after_corrections and new_corrections >= self.after_corrections:
            return Due("count", f"{new_corrections} corrections since the last run; {self.after_corrections} start one")
        if alarm is not None and new_corrections:
            seen = ", ".join(sorted(alarm.detectors))
            return Due("drift", f"drift alarm {alarm.alarm_id} ({seen}) and {new_corrections} corrections since the last run")
        planned = self.next_planned(last_run=last_run, started_at=started_at)
        if planned is not None and now >= planned[0]:
            return Due("schedule", planned[1])
        return None

    def next_planned(self, *, last_run: RunAnswer | None, started_at: datetime) -> tuple[datetime, str] | None:
        """Return when a schedule starts the next run, and which, in words; None where there is no schedule.

        A moment of the cron schedule that passed while a run was at work counts when that ends. One that passed while no
        learner was there is gone, as with cron itself.
        """
        found: list[tuple[datetime, str]] = []
        if self.every_s:
            since = (last_run.ended_at or last_run.created_at) if last_run is not None else started_at
            found.append((since + timedelta(seconds=self.every_s), f"{self.every_s:g} s since the last run"))
        if self.cron is not None:
            since = max(last_run.created_at, started_at) if last_run is not None else started_at
            found.append((self.cron.next(since), f"the schedule {self.cron.expression}"))
        return min(found, default=None)
