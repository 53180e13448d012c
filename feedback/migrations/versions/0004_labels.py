"""Labels as events: proposed, accepted, merged, renamed, retired; and who took a correction back, and for which other one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

_Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the table of events, and give withdrawals their reasons."""
    op.create_table(
        "label_events",
        sa.Column("sequence", _Sequence, autoincrement=True, nullable=False),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("into", sa.Text),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_label_events"),
        sqlite_autoincrement=True,
    )
    op.add_column("withdrawals", sa.Column("by", sa.String(200)))
    op.add_column("withdrawals", sa.Column("why", sa.Text))
    op.add_column("withdrawals", sa.Column("replaced_by", sa.String(40)))
    op.create_index("ix_withdrawals_replaced_by", "withdrawals", ["replaced_by"])
    op.create_index("ix_corrections_label", "corrections", ["label"])


def downgrade() -> None:
    """Drop what was added; labels are again those of the corrections and the base data, as they stand."""
    op.drop_index("ix_corrections_label", "corrections")
    op.drop_index("ix_withdrawals_replaced_by", "withdrawals")
    for name in ("replaced_by", "why", "by"):
        op.drop_column("withdrawals", name)
    op.drop_table("label_events")
