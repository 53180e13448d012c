"""The store of record: predictions, corrections, idempotency, runs, leases, replicas.

Written out in full rather than taken from ``feedback.tables``: a migration never changes once it has been released.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

_Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create every table."""
    _create_predictions()
    _create_corrections()
    _create_learning()
    _create_coordination()


def downgrade() -> None:
    """Drop every table and all that is in them."""
    for table in ("replicas", "leases", "run_corrections", "runs", "idempotency", "corrections", "predictions"):
        op.drop_table(table)


def _create_predictions() -> None:
    op.create_table(
        "predictions",
        sa.Column("prediction_id", sa.String(200), nullable=False),
        sa.Column("created_at", _Moment, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("text_key", sa.String(32), nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("model_version", sa.String(200), nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("metadata", sa.JSON),
        sa.PrimaryKeyConstraint("prediction_id", name="pk_predictions"),
    )
    op.create_index("ix_predictions_text_key", "predictions", ["text_key"])
    op.create_index("ix_predictions_model_version", "predictions", ["model_version"])


def _create_corrections() -> None:
    op.create_table(
        "corrections",
        sa.Column("sequence", _Sequence, autoincrement=True, nullable=False),
        sa.Column("correction_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("prediction_id", sa.String(200)),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("text_key", sa.String(32), nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("predicted_label", sa.Text),
        sa.Column("model_version", sa.String(200)),
        sa.Column("annotator", sa.String(200)),
        sa.Column("confidence", sa.Float),
        sa.Column("metadata", sa.JSON),
        sa.Column("created_at", _Moment, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_corrections"),
        sa.UniqueConstraint("correction_id", name="uq_corrections_correction_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_corrections_prediction_id", "corrections", ["prediction_id"])
    op.create_index("ix_corrections_text_key", "corrections", ["text_key"])
    op.create_table(
        "idempotency",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("body_sha256", sa.String(64), nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
        sa.Column("created_at", _Moment, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])


def _create_learning() -> None:
    op.create_table(
        "runs",
        sa.Column("sequence", _Sequence, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(40), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("speed", sa.String(20), nullable=False),
        sa.Column("trigger", sa.String(20), nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("created_at", _Moment, nullable=False),
        sa.Column("started_at", _Moment),
        sa.Column("ended_at", _Moment),
        sa.Column("stage", sa.Text),
        sa.Column("progress_ratio", sa.Float, nullable=False),
        sa.Column("remaining_s", sa.Float),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("snapshot", sa.String(64)),
        sa.Column("version", sa.String(200)),
        sa.Column("promoted", sa.Boolean),
        sa.Column("error", sa.Text),
        sa.Column("holder", sa.String(200)),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("corrections_up_to", _Sequence, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_runs"),
        sa.UniqueConstraint("run_id", name="uq_runs_run_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_state", "runs", ["state"])
    op.create_table(
        "run_corrections",
        sa.Column("run_id", sa.String(40), nullable=False),
        sa.Column("sequence", _Sequence, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "sequence", name="pk_run_corrections"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_run_corrections_run_id_runs", ondelete="CASCADE"),
    )
    op.create_index("ix_run_corrections_sequence", "run_corrections", ["sequence"])


def _create_coordination() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("expires_at", _Moment, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "replicas",
        sa.Column("replica_id", sa.String(200), nullable=False),
        sa.Column("model_version", sa.String(200)),
        sa.Column("candidate_version", sa.String(200)),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("seen_at", _Moment, nullable=False),
        sa.PrimaryKeyConstraint("replica_id", name="pk_replicas"),
    )
    op.create_index("ix_replicas_seen_at", "replicas", ["seen_at"])
