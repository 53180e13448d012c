"""Erasing from the store: rows of a person or a text go, what comes late is dropped, who had learned from it is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Row, Table, delete, func, insert, select, text, update

from core.errors import NotFound, SubjectsDamaged
from core.schemas import LIVE_STATES, now
from feedback.database import Database, keep_order
from feedback.erased import ERASURE_LOCK
from feedback.lesson_changes import forget_changes
from feedback.privacy_tables import erased_corrections, erasures
from feedback.quality_tables import review_items, suspicions
from feedback.tables import corrections, idempotency, predictions, run_corrections, runs, withdrawals
from feedback.trail import add_entry

_CHUNK_ROWS = 500


@dataclass(frozen=True)
class Target:
    """Whose rows go: a person's, by pseudonym, or those of a text, by the keys it may be kept under."""

    subject: str | None = None
    text_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Erasure:
    """One erasure as the store knows it; ``to_sweep`` are text keys of which files may still hold something."""

    sequence: int
    erasure_id: str
    target: Target
    row: Mapping[str, Any]
    to_sweep: tuple[str, ...] | None
    versions: tuple[str, ...]


@dataclass
class _Gone:
    """What was deleted so far."""

    text_keys: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, rows: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + rows


class Erasures(Database):
    """The part of the store that forgets."""

    def erase(self, target: Target, by: str) -> tuple[str, list[str]]:
        """Return the erasure's id and the runs it stopped; no row of ``target`` is left, and none that was said before returns.

        Files are another matter: :func:`feedback.erasing.erase` sees to both.

        Raises:
            SubjectsDamaged: subjects were kept under another secret, so nobody could say whose rows are whose.
            StoreUnavailable: nothing was erased, or nobody knows; erasing again is safe.
        """
        with self._writing() as connection:
            _alone(connection)
            if target.subject is not None:
                check_secret(connection, target.subject.partition(".")[0])
            erasure_id, gone = f"e_{uuid4().hex}", _Gone(set(target.text_keys))
            _delete_corrections(connection, target, erasure_id, gone)
            _delete_predictions(connection, target, gone)
            row = {
                "erasure_id": erasure_id,
                "created_at": now(),
                "by": by[:200],
                "subject": target.subject,
                "text_keys": list(target.text_keys),
                "to_sweep": sorted(gone.text_keys),
                "counts": gone.counts,
                "versions": [],
            }
            connection.execute(insert(erasures), row)
            forget_changes(connection, gone.text_keys)
            stopped = _stop_runs(connection)
            kind = "subject" if target.subject is not None else "text"
            add_entry(connection, by, "erase", erasure_id, {"by": kind, **gone.counts})
        self._forget_pages()
        return erasure_id, stopped

    def erasure(self, erasure_id: str) -> Erasure:
        """Return one erasure; its versions are those known now.

        Raises:
            NotFound: none has this id.
        """
        with self._reading() as connection:
            row = connection.execute(select(erasures).where(erasures.c.erasure_id == erasure_id)).one_or_none()
            if row is None:
                raise NotFound("no erasure has this erasure_id; GET /v1/erasures lists them")
            return _erasure(connection, row)

    def erasures(self, limit: int = 100) -> list[Erasure]:
        """Return up to ``limit`` erasures, newest first."""
        with self._reading() as connection:
            rows = connection.execute(select(erasures).order_by(erasures.c.sequence.desc()).limit(limit)).all()
            return [_erasure(connection, row) for row in rows]

    def unswept_erasures(self) -> list[Erasure]:
        """Return the erasures whose files were not seen to, because a process died in between."""
        with self._reading() as connection:
            query = select(erasures).where(func.json_type(erasures.c.to_sweep) == "array")
            if connection.dialect.name == "postgresql":
                query = select(erasures).where(func.json_typeof(erasures.c.to_sweep) == "array")
            return [_erasure(connection, row) for row in connection.execute(query.order_by(erasures.c.sequence)).all()]

    def note_swept(self, erasure_id: str, counts: Mapping[str, int], versions: Sequence[str]) -> None:
        """Keep what the files held and which versions had seen it; the keys to look for are no longer needed."""
        with self._writing() as connection:
            found = connection.execute(select(erasures.c.counts).where(erasures.c.erasure_id == erasure_id)).scalar_one()
            values = {"counts": {**found, **counts}, "versions": list(versions), "to_sweep": None}
            connection.execute(update(erasures).where(erasures.c.erasure_id == erasure_id).values(values))

    def note_retraining(self, erasure_id: str, run_id: str) -> None:
        """Keep which run was queued to learn without what was erased."""
        with self._writing() as connection:
            connection.execute(update(erasures).where(erasures.c.erasure_id == erasure_id).values(run_id=run_id))

    def last_erasure(self) -> int:
        """Return the sequence number of the newest erasure, 0 before any; who built a file reads it before and after."""
        with self._reading() as connection:
            return int(connection.execute(select(func.coalesce(func.max(erasures.c.sequence), 0))).scalar_one())

    def _forget_pages(self) -> None:
        """Have the write-ahead log, which still holds the rows, written back and emptied."""
        if self._sqlite:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def check_secret(connection: Connection, fingerprint: str) -> None:
    """Raise ``SubjectsDamaged`` where a subject was kept under another secret than the one of ``fingerprint``."""
    for table in (predictions, corrections):
        ends = connection.execute(select(func.min(table.c.subject), func.max(table.c.subject))).one()
        if any(end is not None and not end.startswith(f"{fingerprint}.") for end in ends):
            raise SubjectsDamaged(
                "the store holds subjects under another secret than that of subjects.key; restore that file from the backup "
                "of the machine that wrote them, or nobody can say whose rows are whose"
            )


def matches(table: Table, target: Target) -> ColumnElement[bool]:
    """Return the condition for the rows of ``target`` in predictions or corrections."""
    if target.subject is not None:
        return table.c.subject == target.subject
    return table.c.text_key.in_(target.text_keys)


def _alone(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        keep_order(connection)
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ERASURE_LOCK})
    else:
        # What is deleted is overwritten, and not only unlinked, in the file.
        connection.exec_driver_sql("PRAGMA secure_delete=ON")


def _delete_corrections(connection: Connection, target: Target, erasure_id: str, gone: _Gone) -> None:
    c = corrections.c
    query = select(c.sequence, c.correction_id, c.text_key, c.created_at).where(matches(corrections, target))
    while rows := connection.execute(query.limit(_CHUNK_ROWS)).all():
        sequences = [row.sequence for row in rows]
        gone.text_keys.update(row.text_key for row in rows)
        gone.add("idempotency_keys", _delete_answers(connection, rows))
        for table in (withdrawals, suspicions):
            connection.execute(delete(table).where(table.c.sequence.in_(sequences)))
        items = delete(review_items).where(review_items.c.correction_sequence.in_(sequences))
        gone.add("review_items", connection.execute(items).rowcount)
        connection.execute(insert(erased_corrections), [{"sequence": number, "erasure_id": erasure_id} for number in sequences])
        gone.add("corrections", connection.execute(delete(corrections).where(c.sequence.in_(sequences))).rowcount)


def _delete_answers(connection: Connection, rows: Iterable[Any]) -> int:
    """Delete what was answered to whoever sent these corrections with a key; the answer's time is the correction's."""
    moments = {row.correction_id: row.created_at for row in rows}
    query = select(idempotency.c.key, idempotency.c.answer).where(idempotency.c.created_at.in_(moments.values()))
    keys = [key for key, answer in connection.execute(query) if answer.get("correction_id") in moments]
    connection.execute(delete(idempotency).where(idempotency.c.key.in_(keys)))
    return len(keys)


def _delete_predictions(connection: Connection, target: Target, gone: _Gone) -> None:
    query = select(predictions.c.prediction_id, predictions.c.text_key).where(matches(predictions, target))
    while rows := connection.execute(query.limit(_CHUNK_ROWS)).all():
        ids = [row.prediction_id for row in rows]
        gone.text_keys.update(row.text_key for row in rows if row.text_key)
        items = delete(review_items).where(review_items.c.prediction_id.in_(ids))
        gone.add("review_items", connection.execute(items).rowcount)
        gone.add("predictions", connection.execute(delete(predictions).where(predictions.c.prediction_id.in_(ids))).rowcount)
    if target.text_keys:
        left = delete(review_items).where(review_items.c.text_key.in_(target.text_keys))
        gone.add("review_items", connection.execute(left).rowcount)


def _stop_runs(connection: Connection) -> list[str]:
    """Ask the runs at work to stop: their snapshot may hold what goes. What is queued will build one of its own."""
    running = runs.c.state == LIVE_STATES[1]
    run_ids = list(connection.execute(select(runs.c.run_id).where(running)).scalars())
    connection.execute(update(runs).where(running).values(cancel_requested=True))
    return run_ids


def _erasure(connection: Connection, row: Row[tuple[Any, ...]]) -> Erasure:
    learned = (
        select(runs.c.version)
        .join(run_corrections, run_corrections.c.run_id == runs.c.run_id)
        .join(erased_corrections, erased_corrections.c.sequence == run_corrections.c.sequence)
        .where(erased_corrections.c.erasure_id == row.erasure_id, runs.c.version.is_not(None))
        .distinct()
    )
    versions = {*row.versions, *connection.execute(learned).scalars()}
    return Erasure(
        sequence=row.sequence,
        erasure_id=row.erasure_id,
        target=Target(row.subject, tuple(row.text_keys)),
        row=row._asdict(),
        to_sweep=None if row.to_sweep is None else tuple(row.to_sweep),
        versions=tuple(sorted(versions, key=lambda name: (len(name), name))),
    )
