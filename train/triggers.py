"""When to learn without being asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from core.schemas import LIVE_STATES, RunAnswer, Trigger


@dataclass(frozen=True)
class Due:
    """A reason to learn now."""

    trigger: Trigger
    note: str


@dataclass(frozen=True)
class Triggers:
    """The settings that start runs; 0 turns a trigger off."""

    after_corrections: int
    every_s: float

    def due(self, *, new_corrections: int, last_run: RunAnswer | None, started_at: datetime, now: datetime) -> Due | None:
        """Return why a run is due, or None.

        Args:
            new_corrections: corrections since the last run looked at them.
            last_run: the newest run in any state.
            started_at: when this learner started, from which the schedule counts while there is no run.
            now: the present time.
        """
        if last_run is not None and last_run.state in LIVE_STATES:
            return None
        if self.after_corrections and new_corrections >= self.after_corrections:
            return Due("count", f"{new_corrections} corrections since the last run; {self.after_corrections} start one")
        if self.every_s:
            since = (last_run.ended_at or last_run.created_at) if last_run is not None else started_at
            if now - since >= timedelta(seconds=self.every_s):
                return Due("schedule", f"{self.every_s:g} s since the last run")
        return None
