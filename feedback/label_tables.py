"""The table of what was decided about labels; nothing in it is ever changed or removed."""

from __future__ import annotations

from sqlalchemy import Column, String, Table, Text

from feedback.tables import Sequence, UtcDateTime, metadata

label_events = Table(
    "label_events",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("action", String(20), nullable=False),
    Column("label", Text, nullable=False),
    Column("into", Text),
    Column("by", String(200), nullable=False),
    Column("why", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)
