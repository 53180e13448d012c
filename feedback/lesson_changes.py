"""Telling memories that texts they have read about are to be looked at again."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, delete, func, insert, select

from feedback.lesson_tables import lesson_changes
from feedback.tables import corrections

# Beyond so many texts it is quicker to read everything anew.
_MOST_TEXTS = 500


def note_changes(connection: Connection, text_keys: Collection[str]) -> None:
    """Tell that the corrections of these texts stand differently now; the caller holds the order of sequence numbers."""
    if len(text_keys) > _MOST_TEXTS:
        note_upheaval(connection)
    elif text_keys:
        connection.execute(insert(lesson_changes), [{"text_key": key} for key in sorted(set(text_keys))])


def note_changed_corrections(connection: Connection, sequences: Sequence[int]) -> None:
    """Tell that these corrections stand differently now."""
    if len(sequences) > _MOST_TEXTS:
        note_upheaval(connection)
    elif sequences:
        query = select(corrections.c.text_key).where(corrections.c.sequence.in_(sequences))
        note_changes(connection, set(connection.execute(query).scalars()))


def note_upheaval(connection: Connection) -> None:
    """Tell that everything is to be read anew."""
    connection.execute(insert(lesson_changes).values(text_key=None))


def note_screening(connection: Connection, up_to: int) -> None:
    """Tell that the learner has screened all corrections up to this sequence number."""
    if up_to > screened_up_to(connection):
        connection.execute(insert(lesson_changes).values(screened_up_to=up_to))


def screened_up_to(connection: Connection, *, at_change: int | None = None) -> int:
    """Return how far the learner has screened, or had when the change of that sequence number was noted."""
    query = select(func.coalesce(func.max(lesson_changes.c.screened_up_to), 0))
    if at_change is not None:
        query = query.where(lesson_changes.c.sequence <= at_change)
    return int(connection.execute(query).scalar_one())


def forget_changes(connection: Connection, text_keys: Collection[str]) -> None:
    """Leave no trace of these texts here, and have memories read everything anew."""
    keys = sorted(text_keys)
    for start in range(0, len(keys), _MOST_TEXTS):
        part = lesson_changes.c.text_key.in_(keys[start : start + _MOST_TEXTS])
        connection.execute(delete(lesson_changes).where(part))
    note_upheaval(connection)
