"""What people said: corrections and confirmations; append-only, durable once answered, counted once however often sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, insert, select

from core.errors import InputError, NotFound
from core.schemas import CorrectionAnswer, CorrectionKind, CorrectionRequest, CorrectionsAnswer, PredictionRecord, now
from core.text import text_key
from feedback.database import Database, insert_into, keep_order
from feedback.idempotency import answers_under, claim, digest, first_answer
from feedback.predictions import find_prediction
from feedback.tables import corrections, run_corrections, runs, withdrawals

_ANSWERED = tuple(name for name in CorrectionAnswer.model_fields if name not in ("used_by", "withdrawn"))


@dataclass(frozen=True)
class TrainingCorrection:
    """The last word on one text, as training takes it; ``sequence`` orders corrections by arrival."""

    sequence: int
    text: str
    text_key: str
    label: str
    kind: CorrectionKind
    annotator: str | None
    model_version: str | None
    predicted_label: str | None


class Outcomes(NamedTuple):
    """How many of a version's predictions people found right, and how many wrong."""

    right: int
    wrong: int


class Corrections(Database):
    """The part of the store that keeps corrections."""

    def add_correction(self, request: CorrectionRequest, *, idempotency_key: str | None = None) -> CorrectionAnswer:
        """Return the correction as it now stands on disk; one key with one body is kept once and answered alike every time.

        It is a confirmation when it names a prediction that had this label already. The caller has checked label and text.

        Raises:
            UnknownPrediction: the prediction it names is not kept.
            IdempotencyConflict: the key came before with another body.
            InputError: neither or both of ``prediction_id`` and ``text``, or a character the database cannot keep.
            StoreUnavailable: the store does not answer; sending it again with the same key is safe.
        """
        if (request.prediction_id is None) == (request.text is None):
            raise InputError("a correction names exactly one of prediction_id and text")
        return self._write(lambda connection: _add(connection, request, idempotency_key))

    def withdraw_corrections(self, key_prefix: str) -> list[str]:
        """Return the ids of the corrections whose idempotency keys begin with ``key_prefix``; they count no longer.

        They stay in the list, marked, and what had learned from them has. Withdrawing again changes nothing.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        with self._writing() as connection:
            ids = [answer.correction_id for answer in answers_under(connection, key_prefix)]
            query = select(corrections.c.sequence).where(corrections.c.correction_id.in_(ids))
            rows = [{"sequence": sequence, "created_at": now()} for sequence in connection.execute(query).scalars()]
            if rows:
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
                query = query.where(corrections.c.sequence < _find(connection, before).sequence)
            rows = connection.execute(query).all()
            page = rows[:limit]
            answers = _answers(connection, page)
        return CorrectionsAnswer(corrections=answers, next_before=answers[-1].correction_id if len(rows) > limit else None)

    def correction(self, correction_id: str) -> CorrectionAnswer:
        """Return one correction with the versions that learned from it.

        Raises:
            NotFound: none has this id.
            StoreUnavailable: the store does not answer.
        """
        with self._reading() as connection:
            return _answers(connection, [_find(connection, correction_id)])[0]

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
        """Return the last word on each text up to and including that sequence number, oldest first; withdrawn ones are none."""
        within = [] if up_to_sequence is None else [corrections.c.sequence <= up_to_sequence]
        query = _latest_per(corrections.c.text_key, within).order_by(corrections.c.sequence)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return [TrainingCorrection(**{name: row._mapping[name] for name in TrainingCorrection.__annotations__}) for row in rows]

    def label_outcomes(self) -> Mapping[str, Outcomes]:
        """Return live accuracy's counts per model version; each prediction counts once, by the last word on it."""
        last = _latest_per(corrections.c.prediction_id, [corrections.c.prediction_id.is_not(None)]).subquery()
        right = func.count().filter(last.c.label == last.c.predicted_label)
        query = select(last.c.model_version, right, func.count()).group_by(last.c.model_version)
        with self._reading() as connection:
            return {version: Outcomes(good, total - good) for version, good, total in connection.execute(query)}


def newest_sequence(connection: Connection) -> int:
    """Return the highest correction sequence number this transaction sees, 0 where there is none."""
    return int(connection.execute(select(func.coalesce(func.max(corrections.c.sequence), 0))).scalar_one())


def _add(connection: Connection, request: CorrectionRequest, key: str | None) -> CorrectionAnswer:
    if key is None:
        row = _row(connection, request)
    else:
        body = digest(request)
        # Asked before the prediction is looked up, which may have been removed since.
        first = first_answer(connection, key, body)
        if first is not None:
            return first
        row = _row(connection, request)
        if not claim(connection, key, body, _answer(row)):
            return _add(connection, request, key)
    keep_order(connection)
    connection.execute(insert(corrections), row)
    return _answer(row)


def _row(connection: Connection, request: CorrectionRequest) -> dict[str, Any]:
    prediction: PredictionRecord | None = None
    if request.prediction_id is not None:
        prediction = find_prediction(connection, request.prediction_id)
    text = prediction.text if prediction else cast("str", request.text)
    return {
        "correction_id": f"c_{uuid4().hex}",
        "kind": "confirmation" if prediction and prediction.label == request.label else "correction",
        "prediction_id": request.prediction_id,
        "text": text,
        "text_key": prediction.text_key if prediction else text_key(text),
        "label": request.label,
        "predicted_label": prediction.label if prediction else None,
        "model_version": prediction.model_version if prediction else None,
        "annotator": request.annotator,
        "confidence": request.confidence,
        "metadata": request.metadata,
        "created_at": now(),
    }


def _find(connection: Connection, correction_id: str) -> Row[tuple[Any, ...]]:
    row = connection.execute(select(corrections).where(corrections.c.correction_id == correction_id)).one_or_none()
    if row is None:
        raise NotFound("no correction has this correction_id; GET /v1/corrections lists them")
    return row


def _answers(connection: Connection, rows: Sequence[Row[tuple[Any, ...]]]) -> list[CorrectionAnswer]:
    sequences = [row.sequence for row in rows]
    used_by = _used_by(connection, sequences)
    query = select(withdrawals.c.sequence).where(withdrawals.c.sequence.in_(sequences))
    withdrawn = set(connection.execute(query).scalars())
    return [_answer(row._asdict(), used_by.get(row.sequence, []), withdrawn=row.sequence in withdrawn) for row in rows]


def _used_by(connection: Connection, sequences: Sequence[int]) -> Mapping[int, list[str]]:
    found: dict[int, list[str]] = {}
    if not sequences:
        return found
    query = (
        select(run_corrections.c.sequence, runs.c.version)
        .join(runs, runs.c.run_id == run_corrections.c.run_id)
        .where(runs.c.state == "succeeded", runs.c.version.is_not(None), run_corrections.c.sequence.in_(sequences))
        .order_by(runs.c.sequence)
    )
    for sequence, version in connection.execute(query):
        found.setdefault(sequence, []).append(version)
    return found


def _answer(row: Mapping[str, Any], used_by: Sequence[str] = (), *, withdrawn: bool = False) -> CorrectionAnswer:
    kept = {name: row[name] for name in _ANSWERED}
    return CorrectionAnswer.model_validate({**kept, "used_by": list(used_by), "withdrawn": withdrawn})


def _latest_per(column: ColumnElement[Any], where: Iterable[ColumnElement[bool]]) -> Select[tuple[Any, ...]]:
    stands = corrections.c.sequence.not_in(select(withdrawals.c.sequence))
    newest = select(func.max(corrections.c.sequence)).where(and_(stands, *where)).group_by(column)
    return select(corrections).where(corrections.c.sequence.in_(newest))
