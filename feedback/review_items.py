"""Putting predictions and doubtful corrections into the review queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import random
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, and_, delete, func, select, tuple_

from core.schemas import now
from feedback.accuracy import is_drawn
from feedback.database import Database, insert_into
from feedback.quality_tables import review_items, suspicions
from feedback.tables import corrections, predictions

_PAGE_ROWS = 20_000
# Predictions may come to the store late, from the spool or another replica.
_LATE = timedelta(minutes=2)
_READABLE = ("full", "redacted")
# A version's accuracy is that of its own answers, also where the memory answered in its stead.
_DRAWN = (
    *(predictions.c[name] for name in ("prediction_id", "created_at", "text_key", "model_version", "sample_ratio")),
    func.coalesce(predictions.c.model_label, predictions.c.label).label("label"),
    func.coalesce(predictions.c.model_score, predictions.c.score).label("score"),
)


@dataclass(frozen=True)
class Candidate:
    """A prediction that might be worth a look."""

    prediction_id: str
    text: str
    text_key: str
    label: str
    score: float
    model_version: str


class ReviewItems(Database):
    """The part of the store that fills the review queue."""

    def draw_audit(self, ratio: float, since: datetime | None) -> datetime | None:
        """Put the predictions that chance draws into the audit, and return the time of the newest that was looked at.

        What came before ``since`` was looked at by an earlier call; without it, what came before the last one was drawn. The
        inclusion probability that is written down is that of being logged times ``ratio``.
        """
        seen = since or self._last_draw()
        after = (datetime(1970, 1, 1, tzinfo=UTC) if seen is None else seen - _LATE, "")
        while ratio > 0.0:
            query = (
                select(*_DRAWN)
                .where(predictions.c.text_kept.in_(_READABLE))
                .where(tuple_(predictions.c.created_at, predictions.c.prediction_id) > after)
                .order_by(predictions.c.created_at, predictions.c.prediction_id)
                .limit(_PAGE_ROWS)
            )
            with self._reading() as connection:
                rows = connection.execute(query).all()
            drawn = [row for row in rows if is_drawn(row.prediction_id, ratio)]
            # In an order that chance decides, so that those who stop early have answered a random part of it.
            self._put([_of_prediction(row, "audit", random(), ratio * row.sample_ratio) for row in drawn])  # noqa: S311 - no secret
            if rows:
                after = (rows[-1].created_at, rows[-1].prediction_id)
                seen = after[0]
            if len(rows) < _PAGE_ROWS:
                break
        return seen

    def _last_draw(self) -> datetime | None:
        query = select(func.max(review_items.c.created_at)).where(review_items.c.stratum == "audit")
        with self._reading() as connection:
            moment: datetime | None = connection.execute(query).scalar_one()
        return moment

    def ask_about_suspects(self) -> None:
        """Put every quarantined correction into the queue, and take out those that are quarantined no longer."""
        held = select(suspicions.c.sequence).where(suspicions.c.state == "quarantined")
        query = (
            select(corrections.c.sequence, corrections.c.text_key, suspicions.c.model_version, suspicions.c.model_label)
            .join(suspicions, suspicions.c.sequence == corrections.c.sequence)
            .where(suspicions.c.state == "quarantined")
            .where(corrections.c.sequence.not_in(_asked(review_items.c.correction_sequence)))
        )

        def work(connection: Connection) -> None:
            settled = review_items.c.correction_sequence.not_in(held)
            connection.execute(
                delete(review_items).where(review_items.c.state == "open", review_items.c.stratum == "suspect", settled)
            )
            rows = [
                {
                    **_item("suspect", row.text_key, 0.0),
                    "correction_sequence": row.sequence,
                    "model_version": row.model_version,
                    "predicted_label": row.model_label,
                }
                for row in connection.execute(query)
            ]
            if rows:
                statement = insert_into(connection, review_items)
                connection.execute(statement.on_conflict_do_nothing(index_elements=["correction_sequence"]), rows)

        self._write(work)

    def uncertain_candidates(self, version: str, limit: int) -> list[Candidate]:
        """Return the least certain predictions of a version of which nothing is said or asked yet, one of each text."""
        fields = [predictions.c[name] for name in Candidate.__dataclass_fields__]
        query = (
            select(*fields)
            .where(predictions.c.model_version == version, predictions.c.text_kept.in_(_READABLE))
            .where(~select(corrections.c.sequence).where(corrections.c.text_key == predictions.c.text_key).exists())
            .where(~select(review_items.c.sequence).where(review_items.c.text_key == predictions.c.text_key).exists())
            .order_by(predictions.c.score)
            .limit(limit)
        )
        with self._reading() as connection:
            found = [Candidate(**row._asdict()) for row in connection.execute(query)]
        return list({candidate.text_key: candidate for candidate in reversed(found)}.values())[::-1]

    def ask_about_uncertain(self, picks: Sequence[Candidate], priorities: Sequence[float]) -> None:
        """Put predictions into the queue; the lowest priority is asked first."""
        self._put([_of_prediction(pick, "uncertain", priority, None) for pick, priority in zip(picks, priorities, strict=True)])

    def uncertain_waiting(self, version: str) -> int:
        """Return how many uncertain predictions of a version wait; those of other versions are taken out."""

        def work(connection: Connection) -> int:
            waits = (review_items.c.state == "open", review_items.c.stratum == "uncertain")
            stale = review_items.c.model_version != version
            connection.execute(delete(review_items).where(*waits, stale, review_items.c.holder.is_(None)))
            return int(connection.execute(select(func.count()).select_from(review_items).where(*waits)).scalar_one())

        return self._write(work)

    def _put(self, rows: Sequence[dict[str, Any]]) -> None:
        def work(connection: Connection) -> None:
            statement = insert_into(connection, review_items)
            # What chance draws belongs to the audit, also where it is asked about for another reason.
            statement = statement.on_conflict_do_update(
                index_elements=["prediction_id"],
                set_={name: statement.excluded[name] for name in ("stratum", "inclusion_probability", "priority")},
                where=and_(review_items.c.stratum == "uncertain", statement.excluded.stratum == "audit"),
            )
            connection.execute(statement, rows)

        if rows:
            self._write(work)


def _asked(column: Any) -> Any:
    return select(column).where(column.is_not(None))


def _of_prediction(row: Any, stratum: str, priority: float, inclusion_probability: float | None) -> dict[str, Any]:
    return {
        **_item(stratum, row.text_key, priority),
        "prediction_id": row.prediction_id,
        "inclusion_probability": inclusion_probability,
        "model_version": row.model_version,
        "predicted_label": row.label,
        "score": row.score,
    }


def _item(stratum: str, text_key: str, priority: float) -> dict[str, Any]:
    return {
        "item_id": f"i_{uuid4().hex}",
        "stratum": stratum,
        "state": "open",
        "text_key": text_key,
        "priority": priority,
        "created_at": now(),
        "attempt": 1,
    }
