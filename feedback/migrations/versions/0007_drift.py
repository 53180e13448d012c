"""Windows of answers compared with what a version was measured on, and alarms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

_Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables of drift."""
    op.create_table(
        "drift_windows",
        sa.Column("sequence", _Sequence, autoincrement=True, nullable=False),
        sa.Column("window_id", sa.String(40), nullable=False),
        sa.Column("model_version", sa.String(200), nullable=False),
        sa.Column("created_at", _Moment, nullable=False),
        sa.Column("started_at", _Moment, nullable=False),
        sa.Column("ended_at", _Moment, nullable=False),
        sa.Column("last_prediction_id", sa.String(200), nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("seen", sa.Integer, nullable=False),
        sa.Column("texts", sa.Integer, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("findings", sa.JSON, nullable=False),
        sa.Column("estimate", sa.JSON),
        sa.Column("known", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_drift_windows"),
        sa.UniqueConstraint("window_id", name="uq_drift_windows_window_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_drift_windows_model_version", "drift_windows", ["model_version", "sequence"])
    op.create_table(
        "drift_alarms",
        sa.Column("sequence", _Sequence, autoincrement=True, nullable=False),
        sa.Column("alarm_id", sa.String(40), nullable=False),
        sa.Column("created_at", _Moment, nullable=False),
        sa.Column("window_id", sa.String(40), nullable=False),
        sa.Column("model_version", sa.String(200), nullable=False),
        sa.Column("detectors", sa.JSON, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("decided_at", _Moment),
        sa.Column("decided_by", sa.String(200)),
        sa.Column("decided_why", sa.Text),
        sa.Column("run_id", sa.String(40)),
        sa.PrimaryKeyConstraint("sequence", name="pk_drift_alarms"),
        sa.UniqueConstraint("alarm_id", name="uq_drift_alarms_alarm_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_drift_alarms_state", "drift_alarms", ["state"])


def downgrade() -> None:
    """Drop them; drift is looked for anew."""
    op.drop_table("drift_alarms")
    op.drop_table("drift_windows")
