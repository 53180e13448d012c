"""Attempts to learn: queued, claimed by one learner, watched, stopped, ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import Connection, Row, exists, func, insert, or_, select, update

from core.errors import RunNotActive, RunNotRepeatable, UnknownRun
from core.finetuning import FinetuneWish
from core.schemas import LIVE_STATES, CurvePoint, FitSpeed, RunAnswer, RunsAnswer, RunSpeed, Trigger, now
from feedback.corrections import newest_sequence
from feedback.database import Database, clock
from feedback.tables import leases, run_corrections, runs

_FIELDS = tuple(RunAnswer.model_fields)


@dataclass(frozen=True)
class RunEnd:
    """How a run ended.

    ``learned_from`` are the sequence numbers of the corrections its training saw (``Snapshot.learned_from``);
    ``corrections_up_to`` is how far it had read, None meaning as far as when it was claimed.
    """

    state: Literal["succeeded", "failed", "cancelled"]
    version: str | None = None
    promoted: bool | None = None
    error: str | None = None
    snapshot: str | None = None
    corrections_up_to: int | None = None
    learned_from: Sequence[int] = ()


@dataclass(frozen=True)
class Decided:
    """What became clear about a run while it was at work; None leaves what is known."""

    chosen: FitSpeed | None = None
    why: str | None = None
    record: Mapping[str, Any] | None = None

    def values(self) -> dict[str, Any]:
        """Return the columns that change."""
        found = {"chosen": self.chosen, "why": self.why, "record": self.record and dict(self.record)}
        return {name: value for name, value in found.items() if value is not None}


class Runs(Database):
    """The part of the store that keeps runs."""

    def create_run(
        self,
        speed: RunSpeed,
        trigger: Trigger = "manual",
        note: str | None = None,
        wish: FinetuneWish | None = None,
    ) -> RunAnswer:
        """Return a new queued run, which trains the encoder by ``wish`` where it comes to that."""
        wish = wish or FinetuneWish()
        with self._writing() as connection:
            asked = {"speed": speed, "trigger": trigger, "note": note, "corrections_up_to": newest_sequence(connection)}
            return _create(connection, {**asked, "preset": wish.preset, "finetune": dict(wish.changes) or None})

    def continue_run(self, run_id: str, manner: Literal["resume", "repeat"], note: str | None = None) -> RunAnswer:
        """Return a new queued run that goes on where ``run_id`` was stopped, or does it again from its record.

        It sees the corrections that one saw, so those that came since stay new.

        Raises:
            UnknownRun: none has this id.
            RunNotRepeatable: it is still at work, succeeded and so has nothing to resume, or left no record.
        """
        with self._writing() as connection:
            row = _find(connection, run_id)
            if row.state in LIVE_STATES:
                raise RunNotRepeatable(f"the run is {row.state}; only one that has ended can be gone on from", state=row.state)
            if row.record is None:
                raise RunNotRepeatable("the run left no record: it ended before its data were put together; start a new run")
            if manner == "resume" and (row.state == "succeeded" or row.speed == "head"):
                raise RunNotRepeatable(
                    f"this is a run of speed {row.speed} that {'succeeded' if row.state == 'succeeded' else 'takes seconds'}; "
                    "only a full run that was stopped or failed can be resumed; any can be repeated",
                    state=row.state,
                )
            kept = {name: row._mapping[name] for name in ("speed", "preset", "finetune", "corrections_up_to")}
            asked = {**kept, "trigger": "manual", "note": note}
            return _create(connection, {**asked, "resumes" if manner == "resume" else "repeats": run_id})

    def record_run(self, run_id: str, record: Mapping[str, Any]) -> None:
        """Keep what decides the run's result, for :meth:`continue_run`.

        Raises:
            UnknownRun: none has this id.
            RunNotActive: it is not running.
        """
        with self._writing() as connection:
            _refuse_unless(_find(connection, run_id, lock=True), "running")
            _set(connection, run_id, record=dict(record))

    def run_record(self, run_id: str) -> dict[str, Any] | None:
        """Return what :meth:`record_run` kept, None when the run did not come so far.

        Raises:
            UnknownRun: none has this id.
        """
        with self._reading() as connection:
            record: dict[str, Any] | None = _find(connection, run_id).record
        return record

    def runs(self, limit: int = 100) -> RunsAnswer:
        """Return up to ``limit`` runs, newest first, without their curves."""
        query = select(*(column for column in runs.c if column.name != "curve"))
        with self._reading() as connection:
            rows = connection.execute(query.order_by(runs.c.sequence.desc()).limit(limit)).all()
        return RunsAnswer(runs=[_answer(row) for row in rows])

    def runs_since(self, moment: datetime) -> list[RunAnswer]:
        """Return the runs that were at work after ``moment`` or are so still, newest first, without their curves."""
        query = select(*(column for column in runs.c if column.name != "curve"))
        recent = runs.c.started_at.is_not(None) & or_(runs.c.ended_at.is_(None), runs.c.ended_at > moment)
        with self._reading() as connection:
            rows = connection.execute(query.where(recent).order_by(runs.c.sequence.desc())).all()
        return [_answer(row) for row in rows]

    def run(self, run_id: str) -> RunAnswer:
        """Return one run.

        Raises:
            UnknownRun: none has this id.
        """
        with self._reading() as connection:
            return _answer(_find(connection, run_id))

    def last_run(self) -> RunAnswer | None:
        """Return the newest run in any state."""
        found = self.runs(limit=1).runs
        return found[0] if found else None

    def corrections_seen(self) -> int:
        """Return the newest correction's sequence number at the time of the latest run, 0 before any.

        With :meth:`correction_count` it says how many came since; a run that failed counts, so that it is not tried for ever.
        """
        with self._reading() as connection:
            return int(connection.execute(select(func.coalesce(func.max(runs.c.corrections_up_to), 0))).scalar_one())

    def claim_run(self, holder: str) -> RunAnswer | None:
        """Return the oldest queued run, now running under ``holder``, or None; no two callers get the same one.

        ``holder`` is the name under which the caller holds its lease, by which :meth:`fail_orphans` knows it is alive.
        """
        oldest = select(runs.c.run_id).where(runs.c.state == "queued").order_by(runs.c.sequence).limit(1)
        with self._writing() as connection:
            run_id = connection.execute(oldest.with_for_update(skip_locked=True)).scalar_one_or_none()
            if run_id is None:
                return None
            row = _find(connection, run_id)
            own = row.resumes is None and row.repeats is None
            seen = newest_sequence(connection) if own else row.corrections_up_to
            _set(connection, run_id, state="running", started_at=now(), holder=holder, corrections_up_to=seen)
            return _answer(_find(connection, run_id))

    def update_run(
        self,
        run_id: str,
        *,
        stage: str | None = None,
        progress_ratio: float | None = None,
        remaining_s: float | None = None,
        metrics: Mapping[str, float] | None = None,
        curve: Sequence[CurvePoint] | None = None,
        decided: Decided | None = None,
    ) -> RunAnswer:
        """Return the run with what is given changed: ``metrics`` are merged, what is None stays, except that
        ``remaining_s`` follows ``progress_ratio`` and is unknown when only that is given.

        Raises:
            UnknownRun: none has this id.
            RunNotActive: it is not running, e.g. because it was given up as an orphan.
        """
        with self._writing() as connection:
            row = _find(connection, run_id, lock=True)
            _refuse_unless(row, "running")
            changes: dict[str, Any] = {}
            if stage is not None:
                changes["stage"] = stage
            if progress_ratio is not None:
                changes["progress_ratio"] = progress_ratio
            if progress_ratio is not None or remaining_s is not None:
                changes["remaining_s"] = remaining_s
            if metrics is not None:
                changes["metrics"] = {**row.metrics, **metrics}
            if curve is not None:
                changes["curve"] = [point.model_dump(mode="json") for point in curve]
            if decided is not None:
                changes |= decided.values()
            if changes:
                _set(connection, run_id, **changes)
            return _answer(_find(connection, run_id))

    def finish_run(self, run_id: str, end: RunEnd) -> RunAnswer:
        """Return the run in its last state; from here on corrections name its version in ``used_by`` if it succeeded.

        Raises:
            UnknownRun: none has this id.
            RunNotActive: it has ended already, e.g. because it was given up as an orphan.
        """
        with self._writing() as connection:
            row = _find(connection, run_id, lock=True)
            _refuse_unless(row, "running")
            up_to = row.corrections_up_to if end.corrections_up_to is None else end.corrections_up_to
            names = ("state", "version", "promoted", "error", "snapshot")
            ended: dict[str, Any] = {name: getattr(end, name) for name in names}
            if end.state == "succeeded":
                ended["progress_ratio"] = 1.0
            _set(connection, run_id, **ended, corrections_up_to=up_to, ended_at=now(), remaining_s=None)
            _link(connection, run_id, end.learned_from)
            return _answer(_find(connection, run_id))

    def request_cancel(self, run_id: str) -> RunAnswer:
        """Return the run: a queued one is cancelled at once, a running one is asked to stop at its next look.

        Raises:
            UnknownRun: none has this id.
            RunNotActive: it has ended already.
        """
        with self._writing() as connection:
            row = _find(connection, run_id, lock=True)
            _refuse_unless(row, *LIVE_STATES)
            changes: dict[str, Any] = {"cancel_requested": True}
            if row.state == "queued":
                changes |= {"state": "cancelled", "ended_at": now(), "corrections_up_to": newest_sequence(connection)}
            _set(connection, run_id, **changes)
            return _answer(_find(connection, run_id))

    def cancel_requested(self, run_id: str) -> bool:
        """Return whether somebody asked this run to stop.

        Raises:
            UnknownRun: none has this id.
        """
        with self._reading() as connection:
            return bool(_find(connection, run_id).cancel_requested)

    def fail_orphans(self, reason: str) -> list[str]:
        """Return the ids of the running runs whose holder has no live lease any more; they are now failed for ``reason``."""
        with self._writing() as connection:
            alive = exists().where(leases.c.holder == runs.c.holder, leases.c.expires_at > clock(connection))
            orphans = select(runs.c.run_id).where(runs.c.state == "running", ~alive).order_by(runs.c.sequence)
            run_ids = list(connection.execute(orphans.with_for_update()).scalars())
            for run_id in run_ids:
                _set(connection, run_id, state="failed", error=reason, ended_at=now(), remaining_s=None)
        return run_ids

    def mend_orphan(self, run_id: str, end: RunEnd) -> RunAnswer:
        """Return the run with what is found out of its end; it was failed as an orphan, but had made a version.

        Raises:
            UnknownRun: none has this id.
            RunNotActive: it has not failed, or has a version already.
        """
        with self._writing() as connection:
            row = _find(connection, run_id, lock=True)
            _refuse_unless(row, "failed")
            if row.version is not None:
                raise RunNotActive(f"the run is known to have made {row.version}", state=row.state)
            names = ("state", "version", "promoted", "error", "snapshot")
            _set(connection, run_id, **{name: getattr(end, name) for name in names})
            _link(connection, run_id, end.learned_from)
            return _answer(_find(connection, run_id))


def _link(connection: Connection, run_id: str, learned_from: Sequence[int]) -> None:
    links = [{"run_id": run_id, "sequence": sequence} for sequence in sorted(set(learned_from))]
    if links:
        connection.execute(insert(run_corrections), links)


def _create(connection: Connection, asked: Mapping[str, Any]) -> RunAnswer:
    run_id = f"r_{uuid4().hex}"
    row: dict[str, Any] = {
        "run_id": run_id,
        "state": "queued",
        "created_at": now(),
        "progress_ratio": 0.0,
        "metrics": {},
        "cancel_requested": False,
    }
    connection.execute(insert(runs), {**row, **asked})
    return _answer(_find(connection, run_id))


def _find(connection: Connection, run_id: str, *, lock: bool = False) -> Row[tuple[Any, ...]]:
    query = select(runs).where(runs.c.run_id == run_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise UnknownRun("no run has this run_id; GET /v1/runs lists them")
    return row


def _refuse_unless(row: Row[tuple[Any, ...]], *allowed: str) -> None:
    if row.state not in allowed:
        raise RunNotActive(f"the run is {row.state}; only a run that is {' or '.join(allowed)} can be changed", state=row.state)


def _set(connection: Connection, run_id: str, **values: Any) -> None:
    connection.execute(update(runs).where(runs.c.run_id == run_id).values(values))


def _answer(row: Row[tuple[Any, ...]]) -> RunAnswer:
    # A list of runs is read without curves; runs of earlier releases have none.
    known = {name: row._mapping[name] for name in _FIELDS if name in row._mapping}
    return RunAnswer.model_validate({**known, "curve": known.get("curve") or []})
