"""What was answered: predictions, kept so that corrections can name them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Row, bindparam, select

from core.errors import UnknownPrediction
from core.schemas import PredictionRecord
from feedback.database import Database, insert_into
from feedback.erased import without_erased
from feedback.tables import predictions

_FIELDS = tuple(PredictionRecord.model_fields)
# Built once: SQLAlchemy takes longer to put it together than a database takes to run it.
_FIND = select(predictions).where(predictions.c.prediction_id == bindparam("wanted"))


class Predictions(Database):
    """The part of the store that keeps predictions."""

    def log_predictions(self, records: Sequence[PredictionRecord]) -> None:
        """Keep ``records``, all or none; one whose id is kept already is left as it stands, so sending again is harmless.

        Raises:
            StoreUnavailable: nothing was written.
            InputError: a record holds a character the database cannot keep; nothing was written.
        """
        if not records:
            return
        with self._writing() as connection:
            rows = [_row(record) for record in without_erased(connection, records)]
            if not rows:
                return
            statement = insert_into(connection, predictions).on_conflict_do_nothing(index_elements=["prediction_id"])
            connection.execute(statement, rows)

    def prediction(self, prediction_id: str) -> PredictionRecord:
        """Return the prediction with this id.

        Raises:
            UnknownPrediction: when none has it.
            StoreUnavailable: the store does not answer.
        """
        with self._reading() as connection:
            return find_prediction(connection, prediction_id)


def _row(record: PredictionRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in _FIELDS}


def find_prediction(connection: Connection, prediction_id: str) -> PredictionRecord:
    """Return the prediction with this id as this transaction sees it.

    Raises:
        UnknownPrediction: when none has it.
    """
    row = connection.execute(_FIND, {"wanted": prediction_id}).one_or_none()
    if row is None:
        raise unknown_prediction()
    return _record(row)


def find_predictions(connection: Connection, prediction_ids: Sequence[str]) -> dict[str, PredictionRecord]:
    """Return by id those of the predictions that this transaction sees."""
    if not prediction_ids:
        return {}
    rows = connection.execute(select(predictions).where(predictions.c.prediction_id.in_(prediction_ids)))
    return {record.prediction_id: record for record in map(_record, rows)}


def unknown_prediction() -> UnknownPrediction:
    """Return the error of a correction whose prediction is not kept."""
    return UnknownPrediction(
        "no prediction has this prediction_id; use one from an answer of this service, or send the text instead"
    )


def _record(row: Row[tuple[object, ...]]) -> PredictionRecord:
    return PredictionRecord.model_validate({name: row._mapping[name] for name in _FIELDS})
