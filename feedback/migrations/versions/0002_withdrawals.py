"""Corrections that were taken back: which, and when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

_Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "withdrawals",
        sa.Column("sequence", _Sequence, autoincrement=False, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_withdrawals"),
    )


def downgrade() -> None:
    """Drop the table; what was withdrawn counts again."""
    op.drop_table("withdrawals")
