"""With which window a version's traffic is compared from a moment on, where an operator said so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision: str | None = "0011"
branch_labels: str | None = None
depends_on: str | None = None
# A table more, which earlier releases pass over.
oldest_reader = "0011"

_Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "drift_references",
        sa.Column("sequence", _Sequence, autoincrement=True, nullable=False),
        sa.Column("model_version", sa.String(200), nullable=False),
        sa.Column("window_id", sa.String(40)),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.String(200), nullable=False),
        sa.Column("decided_why", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_drift_references"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_drift_references_model_version", "drift_references", ["model_version", "sequence"])


def downgrade() -> None:
    """Drop it; versions are compared with their own held-out rows again."""
    op.drop_table("drift_references")
