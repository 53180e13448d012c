"""What people said: corrections and confirmations; append-only, durable once answered, counted once however often sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select

from core.schemas import CorrectionAnswer, CorrectionKind, CorrectionsAnswer, now
from feedback.correction_rows import answers_of, find_correction
from feedback.database import Database, insert_into, keep_order
from feedback.idempotency import answers_under
from feedback.labels import read_book
from feedback.lesson_changes import note_changes
from feedback.tables import corrections, withdrawals

_TAKEN = ("sequence", "text", "text_key", "label", "kind", "annotator", "model_version", "predicted_label")


@dataclass(frozen=True)
class TrainingCorrection:
    """What is to be learned of one text; ``sequence`` orders corrections by arrival.

    ``supported_by`` are the sequence numbers of all corrections that say so, where there was a vote. ``drawn``: chance chose
    the text for one of those who say so.
    """

    sequence: int
    text: str
    text_key: str
    label: str
    kind: CorrectionKind
    annotator: str | None
    model_version: str | None
    predicted_label: str | None
    supported_by: tuple[int, ...] = ()
    drawn: bool = False


class Outcomes(NamedTuple):
    """How many of a version's predictions people found right, and how many wrong."""

    right: int
    wrong: int


class Corrections(Database):
    """The part of the store that keeps corrections."""

    def withdraw_corrections(self, key_prefix: str) -> list[str]:
        """Return the ids of the corrections whose idempotency keys begin with ``key_prefix``; they count no longer.

        They stay in the list, marked, and what had learned from them has. Withdrawing again changes nothing.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        with self._writing() as connection:
            ids = [answer.correction_id for answer in answers_under(connection, key_prefix)]
            keep_order(connection)
            query = select(corrections.c.sequence, corrections.c.text_key).where(corrections.c.correction_id.in_(ids))
            found = connection.execute(query).all()
            rows = [{"sequence": row.sequence, "created_at": now()} for row in found]
            if rows:
                note_changes(connection, {row.text_key for row in found})
                statement = insert_into(connection, withdrawals).on_conflict_do_nothing(index_elements=["sequence"])
                connection.execute(statement, rows)
        return ids

    def corrections(self, limit: int = 100, before: str | None = None) -> CorrectionsAnswer:
        """Return up to ``limit`` corrections, newest first, older than the one named ``before``.

        Raises:
            NotFound: no correction is named ``before``.
            StoreUnavailable: the store does not answer.
        """
        with self._reading() as connection:
            query = select(corrections).order_by(corrections.c.sequence.desc()).limit(limit + 1)
            if before is not None:
                query = query.where(corrections.c.sequence < find_correction(connection, before).sequence)
            rows = connection.execute(query).all()
            page = rows[:limit]
            answers = answers_of(connection, page)
        return CorrectionsAnswer(corrections=answers, next_before=answers[-1].correction_id if len(rows) > limit else None)

    def correction(self, correction_id: str) -> CorrectionAnswer:
        """Return one correction with the versions that learned from it.

        Raises:
            NotFound: none has this id.
            StoreUnavailable: the store does not answer.
        """
        with self._reading() as connection:
            return answers_of(connection, [find_correction(connection, correction_id)])[0]

    def correction_count(self, after_sequence: int = 0, *, kind: CorrectionKind | None = "correction") -> int:
        """Return how many came after ``after_sequence``: corrections, or confirmations, or with None both."""
        query = select(func.count()).select_from(corrections).where(corrections.c.sequence > after_sequence)
        if kind is not None:
            query = query.where(corrections.c.kind == kind)
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one())

    def last_sequence(self) -> int:
        """Return the sequence number of the newest correction or confirmation; 0 where there is none."""
        with self._reading() as connection:
            return newest_sequence(connection)

    def training_corrections(self, up_to_sequence: int | None = None) -> list[TrainingCorrection]:
        """Return the last word on each text up to and including that sequence number, oldest first; withdrawn ones are none.

        Labels are those that the corrections' own stand for now. What names a label that is not in the set yet, or not any
        more, is no word at all: the one before it stands.
        """
        with self._reading() as connection:
            book = read_book(connection)
            within: list[ColumnElement[bool]] = [corrections.c.label.not_in(sorted(book.silent))] if book.silent else []
            if up_to_sequence is not None:
                within.append(corrections.c.sequence <= up_to_sequence)
            query = _latest_per(corrections.c.text_key, within).order_by(corrections.c.sequence)
            rows = connection.execute(query).all()
        found = [{name: row._mapping[name] for name in _TAKEN} for row in rows]
        return [TrainingCorrection(**{**fields, "label": str(book.now(fields["label"]))}) for fields in found]

    def label_outcomes(self) -> Mapping[str, Outcomes]:
        """Return live accuracy's counts per model version; each prediction counts once, by the last word on it."""
        last = _latest_per(corrections.c.prediction_id, [corrections.c.prediction_id.is_not(None)]).subquery()
        # What the memory answered counts by what the version itself had said.
        own = func.coalesce(last.c.model_label, last.c.predicted_label)
        right = func.count().filter(last.c.label == own)
        query = select(last.c.model_version, right, func.count()).group_by(last.c.model_version)
        with self._reading() as connection:
            return {version: Outcomes(good, total - good) for version, good, total in connection.execute(query)}


def newest_sequence(connection: Connection) -> int:
    """Return the highest correction sequence number this transaction sees, 0 where there is none."""
    return int(connection.execute(select(func.coalesce(func.max(corrections.c.sequence), 0))).scalar_one())


def _latest_per(column: ColumnElement[Any], where: Iterable[ColumnElement[bool]]) -> Select[tuple[Any, ...]]:
    stands = corrections.c.sequence.not_in(select(withdrawals.c.sequence))
    newest = select(func.max(corrections.c.sequence)).where(and_(stands, *where)).group_by(column)
    return select(corrections).where(corrections.c.sequence.in_(newest))
