"""How a run was asked to train the encoder."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision: str | None = "0012"
branch_labels: str | None = None
depends_on: str | None = None
# Columns that may be empty, which earlier releases neither read nor write.
oldest_reader = "0011"


def upgrade() -> None:
    """Add the columns; earlier runs were asked for nothing."""
    with op.batch_alter_table("runs") as table:
        table.add_column(sa.Column("preset", sa.String(20)))
        table.add_column(sa.Column("finetune", sa.JSON))


def downgrade() -> None:
    """Drop them; what a run did stays in its record."""
    with op.batch_alter_table("runs") as table:
        table.drop_column("finetune")
        table.drop_column("preset")
