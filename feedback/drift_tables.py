"""The tables of drift. They hold numbers and names of labels; texts stay with the predictions."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Index, Integer, String, Table, Text

from feedback.tables import Sequence, UtcDateTime, metadata

drift_windows = Table(
    "drift_windows",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("window_id", String(40), nullable=False, unique=True),
    Column("model_version", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime, nullable=False),
    # With the time, where the next window goes on: ids alone have no order.
    Column("last_prediction_id", String(200), nullable=False),
    Column("rows", Integer, nullable=False),
    Column("seen", Integer, nullable=False),
    Column("texts", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("why", Text, nullable=False),
    Column("findings", JSON, nullable=False),
    Column("estimate", JSON(none_as_null=True)),
    # Sizes of drift that was taken note of and has not gone since.
    Column("known", JSON, nullable=False),
    Index("ix_drift_windows_model_version", "model_version", "sequence"),
    sqlite_autoincrement=True,
)

drift_alarms = Table(
    "drift_alarms",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("alarm_id", String(40), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("window_id", String(40), nullable=False),
    Column("model_version", String(200), nullable=False),
    Column("detectors", JSON, nullable=False),
    Column("state", String(20), nullable=False, index=True),
    Column("decided_at", UtcDateTime),
    Column("decided_by", String(200)),
    Column("decided_why", Text),
    Column("run_id", String(40)),
    sqlite_autoincrement=True,
)

# The newest row of a version counts; without any, and with no window in it, its own held-out rows are the reference.
drift_references = Table(
    "drift_references",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("model_version", String(200), nullable=False),
    Column("window_id", String(40)),
    Column("decided_at", UtcDateTime, nullable=False),
    Column("decided_by", String(200), nullable=False),
    Column("decided_why", Text, nullable=False),
    Index("ix_drift_references_model_version", "model_version", "sequence"),
    sqlite_autoincrement=True,
)
