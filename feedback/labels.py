"""Decisions about labels: kept as events, so that a snapshot can say by which of them it was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, insert, select

from core.label_bodies import LabelEvent, LabelEventRequest, LabelEventsAnswer
from core.label_book import LabelBook, check_event
from core.schemas import now
from feedback.database import Database, keep_order
from feedback.examples import Example
from feedback.label_tables import label_events
from feedback.tables import corrections, withdrawals


@dataclass(frozen=True)
class Backing:
    """What stands behind a proposal, or must: different texts, and different named annotators who said so."""

    texts: int
    annotators: int

    def suffices(self, needed: Backing) -> bool:
        """Return whether this takes a label into the set; where no texts are needed, nothing but an operator does."""
        return needed.texts > 0 and self.texts >= needed.texts and self.annotators >= needed.annotators


class Labels(Database):
    """The part of the store that keeps decisions about labels."""

    def label_book(self) -> LabelBook:
        """Return what all decisions so far amount to.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        with self._reading() as connection:
            return read_book(connection)

    def label_events(self, limit: int = 100, before: int | None = None) -> LabelEventsAnswer:
        """Return up to ``limit`` decisions, newest first, older than the one of sequence number ``before``."""
        query = select(label_events).order_by(label_events.c.sequence.desc()).limit(limit + 1)
        if before is not None:
            query = query.where(label_events.c.sequence < before)
        with self._reading() as connection:
            found = [LabelEvent.model_validate(row._asdict()) for row in connection.execute(query)]
        page = found[:limit]
        return LabelEventsAnswer(events=page, next_before=page[-1].sequence if len(found) > limit else None)

    def decide_label(self, request: LabelEventRequest, known: Sequence[str]) -> LabelEvent:
        """Return the decision as it was kept; the same one again, with nothing decided in between, is answered with the first.

        ``known`` are the labels of the champion.

        Raises:
            InputError, UnknownLabel, Conflict: it cannot be taken as things stand.
            StoreUnavailable: the store does not answer.
        """

        def work(connection: Connection) -> LabelEvent:
            keep_order(connection)
            newest = select(label_events).where(label_events.c.label == request.label)
            last = connection.execute(newest.order_by(label_events.c.sequence.desc()).limit(1)).one_or_none()
            if last is not None and (last.action, last.into) == (request.action, request.into):
                return LabelEvent.model_validate(last._asdict())
            check_event(request, read_book(connection), known)
            return _append(connection, request.model_dump())

        return self._write(work)

    def backing(self, labels: Iterable[str]) -> Mapping[str, Backing]:
        """Return what stands behind each of ``labels``; corrections that were taken back do not."""
        with self._reading() as connection:
            return _backing(connection, labels)

    def accept_backed_labels(self, needed: Backing) -> list[str]:
        """Take every proposal that has as much behind it as is ``needed`` into the set, and return these labels.

        Raises:
            StoreUnavailable: the store does not answer.
        """

        def work(connection: Connection) -> list[str]:
            keep_order(connection)
            found = _backing(connection, read_book(connection).proposed)
            ready = sorted(label for label, backing in found.items() if backing.suffices(needed))
            for label in ready:
                behind = found[label]
                why = f"{behind.texts} texts of {behind.annotators} annotators; {needed.texts} of {needed.annotators} suffice"
                _append(connection, {"action": "accept", "label": label, "into": None, "by": "proposals", "why": why})
            return ready

        return self._write(work)


def read_book(connection: Connection) -> LabelBook:
    """Return what all decisions that this transaction sees amount to."""
    rows = connection.execute(select(label_events).order_by(label_events.c.sequence))
    return LabelBook.of(LabelEvent.model_validate(row._asdict()) for row in rows)


def note_proposal(connection: Connection, label: str, annotator: str | None) -> None:
    """Keep that ``label`` is proposed, unless that or more is known of it."""
    book = read_book(connection)
    if label not in book.proposed | book.added | book.rejected:
        why = "a correction names it"
        _append(connection, {"action": "propose", "label": label, "into": None, "by": annotator or "unnamed", "why": why})


def with_labels_of(book: LabelBook, examples: Iterable[Example]) -> list[Example]:
    """Return the examples under the labels that theirs stand for now, without those whose label was retired."""
    current = [(example, book.now(example.label)) for example in examples]
    return [replace(example, label=label) for example, label in current if label is not None]


def _append(connection: Connection, values: Mapping[str, object]) -> LabelEvent:
    kept = {**values, "created_at": now()}
    row = connection.execute(insert(label_events).values(kept).returning(label_events.c.sequence)).one()
    return LabelEvent.model_validate({**kept, "sequence": row.sequence})


def _backing(connection: Connection, labels: Iterable[str]) -> dict[str, Backing]:
    wanted = sorted(set(labels))
    texts = func.count(corrections.c.text_key.distinct())
    annotators = func.count(corrections.c.annotator.distinct())
    query = (
        select(corrections.c.label, texts, annotators)
        .where(corrections.c.label.in_(wanted), corrections.c.sequence.not_in(select(withdrawals.c.sequence)))
        .group_by(corrections.c.label)
    )
    found = {label: Backing(count, people) for label, count, people in connection.execute(query)}
    return {label: found.get(label, Backing(0, 0)) for label in wanted}
