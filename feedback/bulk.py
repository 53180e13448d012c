"""Many corrections in one transaction, each kept or refused by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, insert

from core.errors import HoneError, InputError
from core.schemas import CorrectionAnswer, CorrectionRequest, PredictionRecord
from feedback.correction_rows import answer_of, new_row
from feedback.database import Database, keep_order
from feedback.idempotency import conflict, digest, entry, kept_answers
from feedback.labels import note_proposal
from feedback.merging import Merging
from feedback.predictions import find_predictions, unknown_prediction
from feedback.tables import corrections, idempotency

_INSERT, _INSERT_KEYS = insert(corrections), insert(idempotency)


@dataclass(frozen=True)
class BulkRow:
    """A correction that was checked, its idempotency key where it has one, and whether its label is a proposal."""

    request: CorrectionRequest
    key: str | None = None
    proposes: bool = False


@dataclass(frozen=True)
class Kept:
    """A correction as it stands on disk; ``repeated`` says that its key had come before."""

    answer: CorrectionAnswer
    repeated: bool


class Bulk(Database):
    """The part of the store that takes corrections, many at a time; single ones that come together are many as well."""

    @cached_property
    def _singles(self) -> Merging[BulkRow, Kept]:
        return Merging(self.add_corrections, self._busy_timeout_s)

    def add_correction(
        self, request: CorrectionRequest, *, idempotency_key: str | None = None, proposes: bool = False
    ) -> CorrectionAnswer:
        """Return the correction as it now stands on disk; one key with one body is kept once and answered alike every time.

        It is a confirmation when it names a prediction that had this label already. The caller has checked label and text, and
        says with ``proposes`` that the label is none of the set: then it becomes a proposal.

        Raises:
            UnknownPrediction: the prediction it names is not kept.
            IdempotencyConflict: the key came before with another body.
            InputError: neither ``prediction_id`` nor ``text``, or a character the database cannot keep.
            StoreUnavailable: the store does not answer; sending it again with the same key is safe.
        """
        if request.prediction_id is None and request.text is None:
            raise InputError("a correction names a prediction_id, a text, or both")
        return self._singles.put(BulkRow(request, idempotency_key, proposes)).answer

    def add_corrections(self, rows: Sequence[BulkRow]) -> list[Kept | HoneError]:
        """Return what became of each row, in order: kept and on disk, or the error it was refused with.

        Errors are ``UnknownPrediction`` and ``IdempotencyConflict``; the caller has checked labels and texts.

        Raises:
            StoreUnavailable: nothing was written; sending the rows again with the same keys is safe.
            InputError: a row holds a character the database cannot keep; nothing was written.
        """
        kept = [replace(row, request=self._discretion.correction(row.request)) for row in rows]
        return self._write(lambda connection: _Batch(connection, kept).add())


@dataclass
class _Batch:
    connection: Connection
    rows: Sequence[BulkRow]
    seen: dict[str, tuple[str, CorrectionAnswer]] = field(default_factory=dict)
    predictions: dict[str, PredictionRecord] = field(default_factory=dict)
    new_rows: list[dict[str, Any]] = field(default_factory=list)
    new_keys: list[dict[str, object]] = field(default_factory=list)
    # By label, who proposed it first.
    proposals: dict[str, str | None] = field(default_factory=dict)

    def add(self) -> list[Kept | HoneError]:
        # The lock comes first: from here on nobody else claims a key, so none has to be claimed one by one.
        keep_order(self.connection)
        self.seen = kept_answers(self.connection, [row.key for row in self.rows if row.key is not None])
        named = [row.request.prediction_id for row in self.rows if row.request.prediction_id is not None]
        self.predictions = find_predictions(self.connection, named)
        outcomes = [self._take(row) for row in self.rows]
        if self.new_rows:
            self.connection.execute(_INSERT, self.new_rows)
        if self.new_keys:
            self.connection.execute(_INSERT_KEYS, self.new_keys)
        for label, annotator in self.proposals.items():
            note_proposal(self.connection, label, annotator)
        return outcomes

    def _take(self, row: BulkRow) -> Kept | HoneError:
        request = row.request
        body = "" if row.key is None else digest(request)
        first = None if row.key is None else self.seen.get(row.key)
        if first is not None:
            return Kept(first[1], repeated=True) if first[0] == body else conflict()
        prediction = None
        if request.prediction_id is not None:
            prediction = self.predictions.get(request.prediction_id)
            if prediction is None:
                return unknown_prediction()
        try:
            kept = new_row(request, prediction)
        except InputError as error:
            return error
        answer = answer_of(kept, proposed=row.proposes)
        self.new_rows.append(kept)
        if row.key is not None:
            self.seen[row.key] = body, answer
            self.new_keys.append(entry(row.key, body, answer))
        if row.proposes:
            self.proposals.setdefault(request.label, request.annotator)
        return Kept(answer, repeated=False)
