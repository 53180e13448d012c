"""The table of traffic: counts alone, no text and no caller."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Integer, String, Table

from feedback.tables import UtcDateTime, metadata

traffic = Table(
    "traffic",
    metadata,
    Column("began_at", UtcDateTime, primary_key=True),
    Column("replica_id", String(200), primary_key=True),
    Column("texts", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    # Texts answered within each bound of the latency histograms and no sooner; the last number is of slower ones.
    Column("within", JSON, nullable=False),
)
