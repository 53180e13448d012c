"""The tables of quality: what is held back from training and why, and what people are asked to look at."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, ForeignKey, Index, Integer, String, Table, Text

from feedback.tables import Sequence, UtcDateTime, metadata

suspicions = Table(
    "suspicions",
    metadata,
    # No foreign key: corrections are erased without asking who had doubted them.
    Column("sequence", Sequence, primary_key=True, autoincrement=False),
    Column("state", String(20), nullable=False, index=True),
    Column("reasons", JSON, nullable=False),
    # What a model that had not learned from the correction said of its text.
    Column("model_version", String(200)),
    Column("model_label", Text),
    Column("model_score", Float),
    Column("decided_by", String(200)),
    Column("decided_why", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("decided_at", UtcDateTime),
)

review_items = Table(
    "review_items",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("item_id", String(40), nullable=False, unique=True),
    Column("stratum", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    # One of the two says where the text is.
    Column("prediction_id", String(200), unique=True),
    Column("correction_sequence", Sequence, unique=True),
    Column("text_key", String(32), nullable=False, index=True),
    Column("priority", Float, nullable=False),
    Column("inclusion_probability", Float),
    Column("model_version", String(200)),
    Column("predicted_label", Text),
    Column("score", Float),
    Column("created_at", UtcDateTime, nullable=False),
    Column("holder", String(200)),
    Column("leased_until", UtcDateTime),
    # Counts up when an answer is undone, so that the next one is another correction.
    Column("attempt", Integer, nullable=False),
    Column("annotator", String(200)),
    Column("label", Text),
    Column("answered_at", UtcDateTime),
    Index("ix_review_items_state", "state", "stratum", "priority"),
    Index("ix_review_items_model_version", "model_version", "stratum"),
    sqlite_autoincrement=True,
)

review_skips = Table(
    "review_skips",
    metadata,
    Column("item_id", ForeignKey("review_items.item_id", ondelete="CASCADE"), primary_key=True),
    Column("annotator", String(200), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
)
