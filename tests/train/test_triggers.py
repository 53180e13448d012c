"""When a run starts by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.schemas import RunAnswer, RunState, Trigger
from train.triggers import Due, Triggers

_NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


def _run(state: RunState, *, created: float, ended: float | None) -> RunAnswer:
    """Return a run with its times in seconds from noon."""
    return RunAnswer(
        run_id="r",
        state=state,
        speed="head",
        trigger="manual",
        note=None,
        created_at=_NOON + timedelta(seconds=created),
        started_at=None,
        ended_at=None if ended is None else _NOON + timedelta(seconds=ended),
        stage=None,
        progress_ratio=0.0,
        remaining_s=None,
        metrics={},
        snapshot=None,
        version=None,
        promoted=None,
        error=None,
    )


@pytest.mark.parametrize(
    ("after", "every_s", "new", "last", "now_s", "expected"),
    [
        (0, 0.0, 10_000, None, 1e9, None),
        (50, 0.0, 49, None, 0, None),
        (50, 0.0, 50, None, 0, "count"),
        (50, 0.0, 51, _run("succeeded", created=0, ended=1), 2, "count"),
        (50, 0.0, 51, _run("failed", created=0, ended=1), 2, "count"),
        (50, 0.0, 51, _run("queued", created=0, ended=None), 2, None),
        (50, 60.0, 51, _run("running", created=0, ended=None), 1e6, None),
        (0, 60.0, 0, None, 59.9, None),
        (0, 60.0, 0, None, 60, "schedule"),
        (0, 60.0, 0, _run("succeeded", created=0, ended=100), 159, None),
        (0, 60.0, 0, _run("succeeded", created=0, ended=100), 160, "schedule"),
        (0, 60.0, 0, _run("cancelled", created=100, ended=None), 160, "schedule"),
        (50, 60.0, 50, None, 60, "count"),
    ],
)
def test_a_run_is_due(
    after: int, every_s: float, new: int, last: RunAnswer | None, now_s: float, expected: Trigger | None
) -> None:
    due = Triggers(after, every_s).due(
        new_corrections=new, last_run=last, started_at=_NOON, now=_NOON + timedelta(seconds=now_s)
    )
    assert (due and due.trigger) == expected


def test_the_note_says_why() -> None:
    due = Triggers(2, 0.0).due(new_corrections=3, last_run=None, started_at=_NOON, now=_NOON)
    assert due == Due("count", "3 corrections since the last run; 2 start one")
