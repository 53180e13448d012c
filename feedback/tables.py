"""The tables of the feedback store.

They are what the newest migration leaves behind; ``tests/feedback/test_migrations.py`` fails when the two differ.
Text stays in ``predictions`` and ``corrections`` alone, so that erasing a person touches two tables.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

SCHEMA = "0013"
"""The newest migration; a store at another one is migrated, or refused where it is unknown."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, aware on the way in and on the way out; SQLite, which keeps no zone, stores it naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return ``value`` as the database takes it.

        Raises:
            ValueError: for a datetime without a zone, whose meaning would depend on the machine.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone was given, an aware one is needed")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored moment with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


# SQLite counts up by itself only in a column declared INTEGER, which is 64 bits wide there.
Sequence = BigInteger().with_variant(Integer, "sqlite")

predictions = Table(
    "predictions",
    metadata,
    Column("prediction_id", String(200), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("text", Text, nullable=False),
    Column("text_key", String(32), nullable=False, index=True),
    Column("label", Text, nullable=False),
    Column("score", Float, nullable=False),
    Column("model_version", String(200), nullable=False),
    Column("source", String(20), nullable=False),
    Column("metadata", JSON(none_as_null=True)),
    Column("subject", String(100), index=True),
    Column("text_kept", String(20), nullable=False, server_default="full"),
    Column("sample_ratio", Float, nullable=False, server_default="1.0"),
    # What the version itself had said, where the memory answered in its stead.
    Column("model_label", Text),
    Column("model_score", Float),
    # The least certain of a version's predictions are found without reading the others.
    Index("ix_predictions_model_version", "model_version", "score"),
    Index("ix_predictions_created_at", "created_at"),
)

corrections = Table(
    "corrections",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("correction_id", String(40), nullable=False, unique=True),
    Column("kind", String(20), nullable=False),
    # No foreign key: a correction carries its text and outlives a prediction that retention removed.
    Column("prediction_id", String(200), index=True),
    Column("text", Text, nullable=False),
    Column("text_key", String(32), nullable=False, index=True),
    Column("label", Text, nullable=False, index=True),
    Column("predicted_label", Text),
    Column("model_version", String(200)),
    Column("annotator", String(200)),
    Column("confidence", Float),
    Column("metadata", JSON(none_as_null=True)),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("subject", String(100), index=True),
    # As in predictions, which retention may have removed.
    Column("model_label", Text),
    # How an annotator has fared lately is asked for at every correction.
    Index("ix_corrections_annotator", "annotator", "sequence"),
    # A sequence number is never given twice, also after rows were erased: runs remember how far they had read.
    sqlite_autoincrement=True,
)

withdrawals = Table(
    "withdrawals",
    metadata,
    # No foreign key: corrections are erased without asking who withdrew them.
    Column("sequence", Sequence, primary_key=True, autoincrement=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("by", String(200)),
    Column("why", Text),
    # The correction that says otherwise, where it was changed rather than taken back.
    Column("replaced_by", String(40), index=True),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", Text, primary_key=True),
    Column("body_sha256", String(64), nullable=False),
    Column("answer", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
)

runs = Table(
    "runs",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("run_id", String(40), nullable=False, unique=True),
    Column("state", String(20), nullable=False, index=True),
    Column("speed", String(20), nullable=False),
    Column("trigger", String(20), nullable=False),
    Column("note", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("stage", Text),
    Column("progress_ratio", Float, nullable=False),
    Column("remaining_s", Float),
    Column("metrics", JSON, nullable=False),
    Column("snapshot", String(64)),
    Column("version", String(200)),
    Column("promoted", Boolean),
    Column("error", Text),
    Column("holder", String(200)),
    Column("cancel_requested", Boolean, nullable=False),
    Column("corrections_up_to", Sequence, nullable=False),
    Column("chosen", String(20)),
    Column("why", Text),
    # A list of points, bounded by whoever writes it.
    Column("curve", JSON(none_as_null=True)),
    Column("resumes", String(40)),
    Column("repeats", String(40)),
    Column("record", JSON(none_as_null=True)),
    Column("preset", String(20)),
    Column("finetune", JSON(none_as_null=True)),
    sqlite_autoincrement=True,
)

run_corrections = Table(
    "run_corrections",
    metadata,
    Column("run_id", ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
    # No foreign key: what a version had learned from stays known after the correction itself was erased.
    Column("sequence", Sequence, primary_key=True, autoincrement=False),
    Index("ix_run_corrections_sequence", "sequence"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("holder", String(200), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

outlooks = Table(
    "outlooks",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("outlook", JSON, nullable=False),
)

replicas = Table(
    "replicas",
    metadata,
    Column("replica_id", String(200), primary_key=True),
    Column("model_version", String(200)),
    Column("candidate_version", String(200)),
    Column("state", String(20), nullable=False),
    Column("reason", Text),
    Column("seen_at", UtcDateTime, nullable=False, index=True),
)

# Tables of their own subjects share the metadata; without this they would be unknown to whoever asks for all of them.
from feedback import drift_tables, label_tables, lesson_tables, privacy_tables, quality_tables, traffic_tables  # noqa: E402, F401
