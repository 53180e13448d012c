"""What a run was asked and saw, so that it can be resumed or repeated."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the columns; runs of earlier releases have no record."""
    op.add_column("runs", sa.Column("resumes", sa.String(40)))
    op.add_column("runs", sa.Column("repeats", sa.String(40)))
    op.add_column("runs", sa.Column("record", sa.JSON))


def downgrade() -> None:
    """Drop the columns."""
    for column in ("record", "repeats", "resumes"):
        op.drop_column("runs", column)
