"""One correction as a row and as an answer: what is written for a request, and what is told of what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

from sqlalchemy import Connection, Row, select

from core.errors import InvalidText, NotFound, TextNotKept
from core.schemas import CorrectionAnswer, CorrectionRequest, PredictionRecord, now
from core.text import text_key
from feedback.labels import read_book
from feedback.predictions import find_prediction
from feedback.tables import corrections, run_corrections, runs, withdrawals

_DERIVED = ("used_by", "withdrawn", "replaced_by", "replaces", "proposed")
_ANSWERED = tuple(name for name in CorrectionAnswer.model_fields if name not in _DERIVED)


def row_of(connection: Connection, request: CorrectionRequest) -> dict[str, Any]:
    """Return the row of a new correction, without its sequence number.

    Raises:
        UnknownPrediction: the prediction it names is not kept.
    """
    prediction = None if request.prediction_id is None else find_prediction(connection, request.prediction_id)
    return new_row(request, prediction)


def new_row(request: CorrectionRequest, prediction: PredictionRecord | None) -> dict[str, Any]:
    """Return the row of a new correction of ``prediction``, or where that is None of the request's text.

    Raises:
        TextNotKept: the prediction's text is not kept, and the request brings none.
        InvalidText: the request brings another text than the one that was predicted.
    """
    text = _text_of(request, prediction)
    return {
        "correction_id": new_correction_id(),
        "kind": "confirmation" if prediction and prediction.label == request.label else "correction",
        "prediction_id": request.prediction_id,
        "text": text,
        "text_key": prediction.text_key if prediction and prediction.text_key else text_key(text),
        "label": request.label,
        "predicted_label": prediction.label if prediction else None,
        "model_label": prediction.model_label if prediction else None,
        "model_version": prediction.model_version if prediction else None,
        "annotator": request.annotator,
        "confidence": request.confidence,
        "metadata": request.metadata,
        # What is said about a person's text is about that person.
        "subject": request.subject or (prediction.subject if prediction else None),
        "created_at": now(),
    }


def _text_of(request: CorrectionRequest, prediction: PredictionRecord | None) -> str:
    if prediction is None:
        return cast("str", request.text)
    if request.text is None:
        if prediction.text_kept in ("hash", "none"):
            raise TextNotKept("the text of this prediction is not kept (HONE_LOG_TEXT); send it beside prediction_id, as text")
        return prediction.text
    if prediction.text_kept == "redacted":
        # What was taken out is not to come back with a correction.
        return prediction.text
    # Where not even the key is kept, the caller is believed.
    if prediction.text_key and prediction.text_key != text_key(request.text):
        raise InvalidText(
            "text is not the text of this prediction; send the one that was predicted, or leave it out", field="text"
        )
    return prediction.text or request.text


def new_correction_id() -> str:
    """Return an id that no correction has."""
    return f"c_{uuid4().hex}"


def find_correction(connection: Connection, correction_id: str) -> Row[tuple[Any, ...]]:
    """Return the row of the correction with this id.

    Raises:
        NotFound: none has it.
    """
    row = connection.execute(select(corrections).where(corrections.c.correction_id == correction_id)).one_or_none()
    if row is None:
        raise NotFound("no correction has this correction_id; GET /v1/corrections lists them")
    return row


def answers_of(connection: Connection, rows: Sequence[Row[tuple[Any, ...]]]) -> list[CorrectionAnswer]:
    """Return rows of corrections as answers, with what has become of each."""
    sequences = [row.sequence for row in rows]
    used_by = _used_by(connection, sequences)
    query = select(withdrawals.c.sequence, withdrawals.c.replaced_by).where(withdrawals.c.sequence.in_(sequences))
    withdrawn = {row.sequence: row.replaced_by for row in connection.execute(query)}
    replaces = _replaces(connection, [row.correction_id for row in rows])
    proposed = read_book(connection).proposed
    return [
        answer_of(
            row._asdict(),
            used_by=used_by.get(row.sequence, []),
            withdrawn=row.sequence in withdrawn,
            replaced_by=withdrawn.get(row.sequence),
            replaces=replaces.get(row.correction_id),
            proposed=row.label in proposed,
        )
        for row in rows
    ]


def answer_of(row: Mapping[str, Any], **derived: object) -> CorrectionAnswer:
    """Return a row of corrections as an answer; ``derived`` are the fields that other tables know."""
    kept = {name: row[name] for name in _ANSWERED}
    return CorrectionAnswer.model_validate({**kept, **derived})


def _replaces(connection: Connection, correction_ids: Sequence[str]) -> Mapping[str, str]:
    query = (
        select(withdrawals.c.replaced_by, corrections.c.correction_id)
        .join(corrections, corrections.c.sequence == withdrawals.c.sequence)
        .where(withdrawals.c.replaced_by.in_(correction_ids))
    )
    return {str(new): str(old) for new, old in connection.execute(query)}


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
