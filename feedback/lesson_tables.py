"""The table by which memories notice what became of corrections that they have read already."""

from __future__ import annotations

from sqlalchemy import Column, String, Table

from feedback.tables import Sequence, metadata

lesson_changes = Table(
    "lesson_changes",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    # The text whose corrections were withdrawn, held back or let through; null where everything is to be read anew.
    Column("text_key", String(32), index=True),
    # Set in rows of another kind: the learner has screened all corrections up to this one.
    Column("screened_up_to", Sequence),
    sqlite_autoincrement=True,
)
