"""What a memory reads of the store: at first all it may hold, then only what has changed, by sequence numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from core.label_book import LabelBook
from feedback.consensus import ANONYMOUS, Vote
from feedback.database import Database
from feedback.first_look import Looked
from feedback.label_tables import label_events
from feedback.labels import read_book
from feedback.lesson_changes import screened_up_to
from feedback.lesson_tables import lesson_changes
from feedback.quality_tables import suspicions
from feedback.quarantine import VOTER, read_votes
from feedback.suspicion import Limits, in_bursts
from feedback.tables import corrections, run_corrections, runs, withdrawals

_PART = 500
_HELD = ("quarantined", "upheld")
# By so many of their corrections that the learner has screened last, annotators are judged; fewer than the least say nothing.
_LATELY = 50
_LEAST_LATELY = 3
# Bursts are looked for among so many that the learner has not screened yet, unless more are allowed.
_LEAST_UNSCREENED = 5_000


@dataclass(frozen=True)
class LessonMark:
    """How far a memory has read: the newest correction, change, decision about labels, and run that succeeded."""

    corrections: int = 0
    changes: int = 0
    labels: int = 0
    runs: int = 0

    def is_behind(self, other: LessonMark) -> bool:
        """Return whether ``other`` has read something that this one has not."""
        return any(getattr(self, field.name) < getattr(other, field.name) for field in fields(self))


@dataclass(frozen=True)
class LessonNews:
    """What is new since a mark: the votes on each text that is to be looked at, none where none is left.

    ``whole`` says that these are all texts there are for the memory, and what it held of others is to go.
    """

    mark: LessonMark
    whole: bool
    votes: Mapping[str, Sequence[Vote]]
    looked: Looked
    book: LabelBook


class Lessons(Database):
    """The part of the store that memories follow."""

    def lesson_news(self, mark: LessonMark | None, limits: Limits, most: int) -> LessonNews | None:
        """Return what a memory of ``most`` texts that has read up to ``mark`` has to know, None where that is nothing.

        A mark of None, or one that this store never gave, is answered with everything.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        with self._reading() as connection:
            newest = LessonMark(*connection.execute(_MARK).one())
            if newest == mark:
                return None
            keys = None if mark is None or newest.is_behind(mark) else _changed_texts(connection, mark, newest)
            whole = keys is None or len(keys) > most
            return _news(connection, newest, limits, _newest_texts(connection, most) if whole or keys is None else keys, whole)

    def learned_by(self, version: str, after_sequence: int = 0) -> frozenset[int]:
        """Return the sequence numbers beyond ``after_sequence`` of the corrections that a version was trained on."""
        query = (
            select(run_corrections.c.sequence)
            .join(runs, runs.c.run_id == run_corrections.c.run_id)
            .where(runs.c.state == "succeeded", runs.c.version == version, run_corrections.c.sequence > after_sequence)
        )
        with self._reading() as connection:
            return frozenset(connection.execute(query).scalars())


def _newest_of(column: ColumnElement[Any], *where: ColumnElement[bool]) -> Any:
    return select(func.coalesce(func.max(column), 0)).where(*where).scalar_subquery()


_MARK = select(
    _newest_of(corrections.c.sequence),
    _newest_of(lesson_changes.c.sequence),
    _newest_of(label_events.c.sequence),
    _newest_of(runs.c.sequence, runs.c.state == "succeeded"),
)


def _changed_texts(connection: Connection, mark: LessonMark, newest: LessonMark) -> set[str] | None:
    """Return the keys of the texts that are to be looked at again, None for all."""
    if newest.labels != mark.labels:
        return None
    said = select(corrections.c.text_key).distinct()
    between = and_(corrections.c.sequence > mark.corrections, corrections.c.sequence <= newest.corrections)
    keys = set(connection.execute(said.where(between)).scalars())
    query = select(lesson_changes.c.text_key, lesson_changes.c.screened_up_to).where(
        lesson_changes.c.sequence > mark.changes, lesson_changes.c.sequence <= newest.changes
    )
    screened = 0
    for row in connection.execute(query):
        if row.screened_up_to is not None:
            screened = max(screened, row.screened_up_to)
        elif row.text_key is None:
            return None
        else:
            keys.add(row.text_key)
    if screened:
        before = screened_up_to(connection, at_change=mark.changes)
        among = and_(corrections.c.sequence > before, corrections.c.sequence <= screened)
        keys.update(connection.execute(said.where(among)).scalars())
    return keys


def _newest_texts(connection: Connection, most: int) -> set[str]:
    """Return the keys of the texts that were corrected last."""
    own = corrections.c.model_label
    teaches = or_(corrections.c.kind == "correction", and_(own.is_not(None), own != corrections.c.label))
    query = (
        select(corrections.c.text_key)
        .where(teaches, corrections.c.sequence.not_in(select(withdrawals.c.sequence)))
        .group_by(corrections.c.text_key)
        .order_by(func.max(corrections.c.sequence).desc())
        .limit(most)
    )
    return set(connection.execute(query).scalars())


def _news(connection: Connection, mark: LessonMark, limits: Limits, keys: set[str], whole: bool) -> LessonNews:
    book = read_book(connection)
    screened = screened_up_to(connection)
    votes = _votes(connection, book, keys)
    fresh = sorted({vote.annotator for group in votes.values() for vote in group if vote.sequence > screened})
    unscreened = _unscreened(connection, screened, fresh, limits)
    in_burst = frozenset(sequence for sequence, _ in in_bursts(unscreened, limits))
    # Those that came before it was one are in it too.
    others = {row.text_key for row in unscreened if row.sequence in in_burst} - keys
    if others and not whole:
        votes |= _votes(connection, book, others)
    states = _states(connection, [vote.sequence for group in votes.values() for vote in group])
    looked = Looked(
        screened_up_to=screened,
        held=frozenset(sequence for sequence, state in states.items() if state in _HELD),
        released=frozenset(sequence for sequence, state in states.items() if state == "released"),
        in_burst=in_burst,
        doubted=frozenset(who for who in fresh if _is_doubted(connection, who, screened, limits)),
    )
    return LessonNews(mark, whole, votes, looked, book)


def _votes(connection: Connection, book: LabelBook, keys: Iterable[str]) -> dict[str, list[Vote]]:
    wanted = sorted(keys)
    found: dict[str, list[Vote]] = {key: [] for key in wanted}
    for start in range(0, len(wanted), _PART):
        for vote in read_votes(connection, book, corrections.c.text_key.in_(wanted[start : start + _PART])):
            found[vote.text_key].append(vote)
    return found


def _states(connection: Connection, sequences: Sequence[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for start in range(0, len(sequences), _PART):
        part = suspicions.c.sequence.in_(sequences[start : start + _PART])
        found |= {
            row.sequence: row.state for row in connection.execute(select(suspicions.c.sequence, suspicions.c.state).where(part))
        }
    return found


def _unscreened(connection: Connection, screened: int, annotators: Sequence[str], limits: Limits) -> Sequence[Any]:
    """Return when these annotators said what the learner has not screened yet."""
    if not annotators or not limits.burst_corrections:
        return []
    query = (
        select(corrections.c.sequence, corrections.c.text_key, VOTER.label("annotator"), corrections.c.created_at)
        .where(corrections.c.sequence > screened, VOTER.in_(annotators[:_PART]))
        .order_by(corrections.c.sequence.desc())
        .limit(max(_LEAST_UNSCREENED, 2 * limits.burst_corrections))
    )
    return connection.execute(query).all()


def _is_doubted(connection: Connection, annotator: str, screened: int, limits: Limits) -> bool:
    """Return whether the learner has lately held back more of an annotator's corrections than a reliable one may have wrong."""
    whose = corrections.c.annotator.is_(None) if annotator == ANONYMOUS else corrections.c.annotator == annotator
    lately = (
        select(corrections.c.sequence)
        .where(whose, corrections.c.sequence <= screened)
        .order_by(corrections.c.sequence.desc())
        .limit(_LATELY)
        .subquery()
    )
    held = func.count(suspicions.c.sequence).filter(suspicions.c.state.in_(_HELD))
    query = select(func.count(), held).select_from(lately.outerjoin(suspicions, suspicions.c.sequence == lately.c.sequence))
    total, doubtful = connection.execute(query).one()
    return bool(total >= _LEAST_LATELY and total - doubtful < limits.annotator_accuracy * total)
