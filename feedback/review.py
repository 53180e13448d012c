"""The review queue as annotators meet it: handed out under a lease, answered, skipped, undone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, func, or_, select, update

from core.errors import Conflict, NotFound
from core.quality_bodies import Reason, ReviewAnswer, ReviewItem, Stratum
from core.schemas import now
from feedback.accuracy import Judged
from feedback.database import Database, clock, insert_into
from feedback.quality_tables import review_items, review_skips, suspicions
from feedback.sampling import next_strata
from feedback.tables import corrections, predictions

_STRATA: tuple[Stratum, ...] = ("audit", "suspect", "uncertain")


@dataclass(frozen=True)
class ReviewTask:
    """What an answer to a review item is about: one of prediction and text; ``key`` makes it count once."""

    item_id: str
    prediction_id: str | None
    text: str | None
    key: str


class Review(Database):
    """The part of the store that hands review items out."""

    def next_review(self, annotator: str, limit: int, shares: Mapping[Stratum, float], lease_s: float) -> ReviewAnswer:
        """Return up to ``limit`` items that ``annotator`` now holds for ``lease_s`` seconds: those already held come first.

        Nobody is asked what they skipped, what somebody else holds, or to judge a correction of their own.
        """

        def work(connection: Connection) -> ReviewAnswer:
            moment = clock(connection)
            held = connection.execute(
                _open().where(review_items.c.holder == annotator, review_items.c.leased_until > moment).limit(limit)
            ).all()
            asked, waiting = _counts(connection)
            turns = next_strata(asked, waiting, shares, limit - len(held))
            rows = [*held, *_free(connection, annotator, moment, Counter(turns))]
            until = moment + timedelta(seconds=lease_s)
            ids = [row.item_id for row in rows]
            lease = update(review_items).where(review_items.c.item_id.in_(ids)).values(holder=annotator, leased_until=until)
            connection.execute(lease)
            return ReviewAnswer(items=[_item(row, until) for row in rows], open=waiting)

        return self._write(work)

    def review_task(self, item_id: str, annotator: str) -> ReviewTask:
        """Return what ``annotator`` is about to answer.

        Raises:
            NotFound: there is no such item.
            Conflict: it is answered already, or somebody else holds it.
        """
        with self._reading() as connection:
            row = _find(connection, item_id)
            if row.state == "done" and row.annotator != annotator:
                raise Conflict("this item has been answered by somebody else; GET /v1/review gives others")
            if row.holder not in (None, annotator) and row.leased_until > clock(connection):
                raise Conflict("somebody else holds this item; GET /v1/review gives others")
            text = None if row.prediction_id is not None else row.text
            return ReviewTask(item_id, row.prediction_id, text, _key(row))

    def finish_review(self, item_id: str, annotator: str, label: str) -> None:
        """Keep that the item is answered; the correction it led to is kept already."""
        values = {"state": "done", "annotator": annotator, "label": label, "answered_at": now(), **_FREE}
        self._write(lambda connection: _update(connection, item_id, values))

    def skip_review(self, item_id: str, annotator: str) -> None:
        """Leave the item to others.

        Raises:
            NotFound: there is no such item.
        """

        def work(connection: Connection) -> None:
            row = _find(connection, item_id)
            values = {"item_id": item_id, "annotator": annotator, "created_at": now()}
            statement = insert_into(connection, review_skips).on_conflict_do_nothing(index_elements=["item_id", "annotator"])
            connection.execute(statement.values(values))
            if row.holder == annotator:
                _update(connection, item_id, _FREE)

        self._write(work)

    def undo_review(self, item_id: str, annotator: str) -> str | None:
        """Open the item again and return the key of the answer that is to be withdrawn; None where it was only skipped.

        Raises:
            NotFound: there is no such item.
            Conflict: the answer is somebody else's.
        """

        def work(connection: Connection) -> str | None:
            row = _find(connection, item_id)
            mine = and_(review_skips.c.item_id == item_id, review_skips.c.annotator == annotator)
            connection.execute(delete(review_skips).where(mine))
            if row.state != "done":
                return None
            if row.annotator != annotator:
                raise Conflict("this item has been answered by somebody else, who alone can undo that")
            again = {"state": "open", "annotator": None, "label": None, "answered_at": None, "attempt": row.attempt + 1}
            _update(connection, item_id, {**again, **_FREE})
            return _key(row)

        return self._write(work)

    def audit_sample(self) -> dict[str, list[Judged]]:
        """Return what was judged of each version's audit, newest version first."""
        right = review_items.c.label == review_items.c.predicted_label
        query = (
            select(review_items.c.model_version, right, review_items.c.inclusion_probability, func.count())
            .where(review_items.c.stratum == "audit", review_items.c.state == "done")
            .group_by(review_items.c.model_version, right, review_items.c.inclusion_probability)
            .order_by(func.max(review_items.c.sequence).desc())
        )
        found: dict[str, list[Judged]] = defaultdict(list)
        with self._reading() as connection:
            for version, good, probability, count in connection.execute(query):
                found[version].append(Judged(bool(good), probability, count))
        return found

    def audit_by_label(self) -> dict[str, dict[str, list[Judged]]]:
        """Return what was judged of each version's audit by the right label, as people said it is."""
        right = review_items.c.label == review_items.c.predicted_label
        by = (review_items.c.model_version, review_items.c.label, right, review_items.c.inclusion_probability)
        query = select(*by, func.count()).where(review_items.c.stratum == "audit", review_items.c.state == "done").group_by(*by)
        found: dict[str, dict[str, list[Judged]]] = defaultdict(lambda: defaultdict(list))
        with self._reading() as connection:
            for version, label, good, probability, count in connection.execute(query):
                found[version][label].append(Judged(bool(good), probability, count))
        return found

    def audited_keys(self) -> set[str]:
        """Return the keys of the texts that chance chose and people judged."""
        query = select(review_items.c.text_key).where(review_items.c.stratum == "audit", review_items.c.state == "done")
        with self._reading() as connection:
            return set(connection.execute(query).scalars())

    def audit_waiting(self) -> Counter[str]:
        """Return how many predictions of each version's audit wait to be judged."""
        query = (
            select(review_items.c.model_version, func.count())
            .where(review_items.c.stratum == "audit", review_items.c.state == "open")
            .group_by(review_items.c.model_version)
        )
        with self._reading() as connection:
            return Counter({str(version): int(count) for version, count in connection.execute(query)})


_FREE: Mapping[str, Any] = {"holder": None, "leased_until": None}


def _open() -> Select[tuple[Any, ...]]:
    """Return open items with their texts; those whose text was erased are left out."""
    text = func.coalesce(predictions.c.text, corrections.c.text)
    return _with_text(text).where(review_items.c.state == "open", text.is_not(None))


def _with_text(text: Any) -> Select[tuple[Any, ...]]:
    return (
        select(review_items, text.label("text"), suspicions.c.reasons)
        .join(predictions, predictions.c.prediction_id == review_items.c.prediction_id, isouter=True)
        .join(corrections, corrections.c.sequence == review_items.c.correction_sequence, isouter=True)
        .join(suspicions, suspicions.c.sequence == review_items.c.correction_sequence, isouter=True)
        .order_by(review_items.c.priority, review_items.c.sequence)
    )


def _counts(connection: Connection) -> tuple[dict[Stratum, int], dict[Stratum, int]]:
    """Return how many items of each stratum were answered, and how many wait."""
    query = select(review_items.c.state, review_items.c.stratum, func.count()).group_by(
        review_items.c.state, review_items.c.stratum
    )
    found = {(state, stratum): count for state, stratum, count in connection.execute(query)}
    return (
        {stratum: found.get(("done", stratum), 0) for stratum in _STRATA},
        {stratum: found.get(("open", stratum), 0) for stratum in _STRATA},
    )


def _free(
    connection: Connection, annotator: str, moment: datetime, wanted: Mapping[Stratum, int]
) -> Sequence[Row[tuple[Any, ...]]]:
    """Return items that nobody holds and that may be asked of ``annotator``; others can not take them meanwhile."""
    skipped = select(review_skips.c.item_id).where(review_skips.c.annotator == annotator)
    rows: list[Row[tuple[Any, ...]]] = []
    for stratum, count in wanted.items():
        query = (
            _open()
            .where(review_items.c.stratum == stratum)
            .where(or_(review_items.c.leased_until.is_(None), review_items.c.leased_until <= moment))
            .where(review_items.c.item_id.not_in(skipped))
            .where(func.coalesce(corrections.c.annotator, "") != annotator)
            .limit(count)
            .with_for_update(skip_locked=True, of=review_items)
        )
        rows.extend(connection.execute(query))
    return rows


def _find(connection: Connection, item_id: str) -> Row[tuple[Any, ...]]:
    text = func.coalesce(predictions.c.text, corrections.c.text)
    row = connection.execute(_with_text(text).where(review_items.c.item_id == item_id)).one_or_none()
    if row is None:
        raise NotFound("no review item has this item_id; GET /v1/review hands items out")
    return row


def _update(connection: Connection, item_id: str, values: Mapping[str, Any]) -> None:
    connection.execute(update(review_items).where(review_items.c.item_id == item_id).values(**values))


def _key(row: Row[tuple[Any, ...]]) -> str:
    # Ends in a sign that no number continues, so that withdrawing by it as a prefix means this answer alone.
    return f"review-{row.item_id}-{row.attempt}."


def _item(row: Row[tuple[Any, ...]], until: datetime) -> ReviewItem:
    return ReviewItem(
        item_id=row.item_id,
        stratum=row.stratum,
        text=row.text,
        predicted_label=None if row.stratum == "audit" else row.predicted_label,
        model_version=row.model_version,
        leased_until=until,
        reasons=[Reason.model_validate(reason) for reason in row.reasons or ()],
    )
