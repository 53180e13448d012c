"""When the learner will learn next, and what holds it back, in words people read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core.schemas import LIVE_STATES, Outlook, RunAnswer
from train.holding import Hold
from train.triggers import Due, Triggers


@dataclass(frozen=True)
class Situation:
    """How things stand: what is due and what holds it back, the newest run, and corrections since then."""

    due: Due | None
    hold: Hold | None
    last_run: RunAnswer | None
    new_corrections: int
    started_at: datetime
    now: datetime


def foresee(triggers: Triggers, at: Situation) -> Outlook:
    """Return the outlook for the next run."""
    if at.due is not None and at.hold is not None:
        return Outlook(
            at=at.now, trigger=at.due.trigger, due_at=at.hold.until, held_by=at.hold.by, why=f"{at.due.note}; {at.hold.why}"
        )
    if at.due is not None:
        return Outlook(at=at.now, trigger=at.due.trigger, due_at=at.now, held_by=None, why=at.due.note)
    if at.last_run is not None and at.last_run.state in LIVE_STATES:
        return Outlook(at=at.now, trigger=None, due_at=None, held_by=None, why=f"a run is {at.last_run.state}")
    return _not_due(triggers, at)


def _not_due(triggers: Triggers, at: Situation) -> Outlook:
    planned = triggers.next_planned(last_run=at.last_run, started_at=at.started_at)
    waits_for = f"{at.new_corrections} of the {triggers.after_corrections} corrections that start a run"
    if planned is not None:
        moment, schedule = planned
        why = f"{schedule}, next {moment:%Y-%m-%d %H:%M} UTC" + (f"; {waits_for}" if triggers.after_corrections else "")
        return Outlook(at=at.now, trigger="schedule", due_at=moment, held_by=None, why=why)
    if triggers.after_corrections:
        return Outlook(at=at.now, trigger="count", due_at=None, held_by=None, why=waits_for)
    return Outlook(at=at.now, trigger=None, due_at=None, held_by=None, why="runs start by hand alone")
