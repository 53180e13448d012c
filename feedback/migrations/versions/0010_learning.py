"""What runs chose and why, how their loss fell; and what the learner foresees."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision: str | None = "0009"
branch_labels: str | None = None
depends_on: str | None = None

_ADDED = (
    ("chosen", sa.String(20)),
    ("why", sa.Text),
    ("curve", sa.JSON(none_as_null=True)),
)


def upgrade() -> None:
    """Add the columns, empty for the runs there are, and the table."""
    for name, kind in _ADDED:
        op.add_column("runs", sa.Column(name, kind))
    op.create_table(
        "outlooks",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("outlook", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_outlooks"),
    )


def downgrade() -> None:
    """Drop them; runs stay, without what they say of their choice."""
    op.drop_table("outlooks")
    for name, _ in reversed(_ADDED):
        op.drop_column("runs", name)
