"""The tables of privacy: what was erased, so that it stays erased, and the trail of who did what."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Index, String, Table, Text

from feedback.tables import Sequence, UtcDateTime, metadata

erasures = Table(
    "erasures",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("erasure_id", String(40), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("by", String(200), nullable=False),
    # What arrives late and was said before is dropped by these: the pseudonym of the person, or the keys of the text.
    Column("subject", String(100)),
    Column("text_keys", JSON, nullable=False),
    # Keys of the rows that went, until the files are rid of them too.
    Column("to_sweep", JSON),
    Column("counts", JSON, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("run_id", String(40)),
    sqlite_autoincrement=True,
)

erased_corrections = Table(
    "erased_corrections",
    metadata,
    # Which versions had learned from them is asked of the runs, also of those that end later.
    Column("sequence", Sequence, primary_key=True, autoincrement=False),
    Column("erasure_id", String(40), nullable=False),
    Index("ix_erased_corrections_erasure_id", "erasure_id"),
)

trail = Table(
    "trail",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(100), nullable=False),
    Column("target", String(300), nullable=False),
    # JSON as text, byte for byte what was hashed.
    Column("details", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
