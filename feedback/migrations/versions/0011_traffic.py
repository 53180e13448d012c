"""What replicas answered lately, in slots of time, for the page that watches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision: str | None = "0010"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "traffic",
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replica_id", sa.String(200), nullable=False),
        sa.Column("texts", sa.Integer, nullable=False),
        sa.Column("refused", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("within", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("began_at", "replica_id", name="pk_traffic"),
    )


def downgrade() -> None:
    """Drop it; counters in the metrics know nothing of it."""
    op.drop_table("traffic")
