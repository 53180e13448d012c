"""Keeping out what was erased while it was still on its way: in a replica's queue, in a spool, in another process's hands."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, text

from core.schemas import PredictionRecord
from feedback.privacy_tables import erasures

# Held by all who write predictions, and alone by who erases: a late row is either seen by the erasure, or sees what was erased.
ERASURE_LOCK = 0x686F6E65_0003


def without_erased(connection: Connection, records: Sequence[PredictionRecord]) -> Sequence[PredictionRecord]:
    """Return those of ``records`` that were not erased while they were on their way here."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": ERASURE_LOCK})
    oldest = min(record.created_at for record in records)
    query = select(erasures.c.subject, erasures.c.text_keys, erasures.c.created_at).where(erasures.c.created_at >= oldest)
    found = connection.execute(query).all()
    if not found:
        return records

    def erased(record: PredictionRecord) -> bool:
        return any(
            record.created_at <= row.created_at
            and ((record.subject is not None and record.subject == row.subject) or record.text_key in row.text_keys)
            for row in found
        )

    return [record for record in records if not erased(record)]
