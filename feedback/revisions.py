"""Taking corrections back and changing them: new events beside the old ones, which stay."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, insert

from core.correction_bodies import ChangeRequest, WithdrawalRequest
from core.errors import Conflict
from core.schemas import CorrectionAnswer, now
from feedback.correction_rows import answer_of, answers_of, find_correction, new_correction_id
from feedback.database import Database, insert_into, keep_order
from feedback.idempotency import claim, digest, first_answer
from feedback.labels import note_proposal
from feedback.lesson_changes import note_changes
from feedback.tables import corrections, withdrawals

_SAME = ("prediction_id", "text", "text_key", "predicted_label", "model_label", "model_version", "subject")


class Revisions(Database):
    """The part of the store that takes corrections back and changes them."""

    def withdraw_correction(self, correction_id: str, request: WithdrawalRequest) -> CorrectionAnswer:
        """Return the correction, withdrawn; one that was already stays as it is.

        Raises:
            NotFound: none has this id.
            StoreUnavailable: the store does not answer.
        """

        def work(connection: Connection) -> CorrectionAnswer:
            row = find_correction(connection, correction_id)
            _withdraw(connection, row, request, None)
            return answers_of(connection, [row])[0]

        return self._write(work)

    def change_correction(
        self, correction_id: str, request: ChangeRequest, *, idempotency_key: str | None = None, proposes: bool = False
    ) -> CorrectionAnswer:
        """Return the new correction, of the same text and prediction, that stands in the place of the old one from now on.

        Raises:
            NotFound: none has this id.
            Conflict: it was withdrawn or changed already.
            IdempotencyConflict: the key came before with another body.
            StoreUnavailable: the store does not answer.
        """

        request = self._discretion.redacted_metadata(request)

        def work(connection: Connection) -> CorrectionAnswer:
            keep_order(connection)
            old = find_correction(connection, correction_id)
            body = digest(request, correction_id)
            first = None if idempotency_key is None else first_answer(connection, idempotency_key, body)
            if first is not None:
                return first
            row = _changed(old, request)
            answer = answer_of(row, replaces=correction_id, proposed=proposes)
            withdrawal = WithdrawalRequest(annotator=row["annotator"], why=request.why)
            if not _withdraw(connection, old, withdrawal, row["correction_id"]):
                raise Conflict("this correction was withdrawn or changed already; GET it to see how", field="correction_id")
            if idempotency_key is not None:
                claim(connection, idempotency_key, body, answer)
            connection.execute(insert(corrections), row)
            if proposes:
                note_proposal(connection, request.label, row["annotator"])
            return answer

        return self._write(work)


def _changed(old: Row[tuple[Any, ...]], request: ChangeRequest) -> dict[str, Any]:
    same = {name: old._mapping[name] for name in _SAME}
    confirms = old.prediction_id is not None and old.predicted_label == request.label
    return {
        **same,
        "correction_id": new_correction_id(),
        "kind": "confirmation" if confirms else "correction",
        "label": request.label,
        "annotator": request.annotator or old.annotator,
        "confidence": request.confidence,
        "metadata": request.metadata,
        "created_at": now(),
    }


def _withdraw(
    connection: Connection, correction: Row[tuple[Any, ...]], request: WithdrawalRequest, replaced_by: str | None
) -> bool:
    """Return whether it was not withdrawn before."""
    statement = insert_into(connection, withdrawals).on_conflict_do_nothing(index_elements=["sequence"])
    values = {
        "sequence": correction.sequence,
        "created_at": now(),
        "by": request.annotator,
        "why": request.why,
        "replaced_by": replaced_by,
    }
    new = connection.execute(statement.values(values).returning(withdrawals.c.sequence)).first() is not None
    if new:
        note_changes(connection, {correction.text_key})
    return new
