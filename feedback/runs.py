"""Attempts to learn: queued, claimed by one learner, watched, stopped, ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import Connection, Row, exists, func, insert, select, update

from core.errors import RunNotActive, UnknownRun
from core.schemas import LIVE_STATES, RunAnswer, RunsAnswer, Trigger, now
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


class Runs(Database):
    """The part of the store that keeps runs."""

    def create_run(self, speed: Literal["head", "full"], trigger: Trigger = "manual", note: str | None = None) -> RunAnswer:
        """Return a new queued run."""
        run_id = f"r_{uuid4().hex}"
        row: dict[str, Any] = {
            "run_id": run_id,
            "state": "queued",
            "speed": speed,
            "trigger": trigger,
            "note": note,
            "created_at": now(),
            "progress_ratio": 0.0,
            "metrics": {},
            "cancel_requested": False,
        }
        with self._writing() as connection:
            connection.execute(insert(runs), {**row, "corrections_up_to": newest_sequence(connection)})
            return _answer(_find(connection, run_id))

    def runs(self, limit: int = 100) -> RunsAnswer:
        """Return up to ``limit`` runs, newest first."""
        with self._reading() as connection:
            rows = connection.execute(select(runs).order_by(runs.c.sequence.desc()).limit(limit)).all()
        return RunsAnswer(runs=[_answer(row) for row in rows])

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
            seen = newest_sequence(connection)
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
            links = [{"run_id": run_id, "sequence": sequence} for sequence in sorted(set(end.learned_from))]
            if links:
                connection.execute(insert(run_corrections), links)
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
    return RunAnswer.model_validate({name: row._mapping[name] for name in _FIELDS})
