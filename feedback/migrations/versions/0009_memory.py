"""What a version had said where the memory answered, and what memories are told of corrections they have read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None

_Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the columns, empty for what was answered before, and create the table of changes."""
    op.add_column("predictions", sa.Column("model_label", sa.Text))
    op.add_column("predictions", sa.Column("model_score", sa.Float))
    op.add_column("corrections", sa.Column("model_label", sa.Text))
    op.create_index("ix_corrections_annotator", "corrections", ["annotator", "sequence"])
    op.create_table(
        "lesson_changes",
        sa.Column("sequence", _Sequence, autoincrement=True, nullable=False),
        sa.Column("text_key", sa.String(32)),
        sa.Column("screened_up_to", _Sequence),
        sa.PrimaryKeyConstraint("sequence", name="pk_lesson_changes"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_lesson_changes_text_key", "lesson_changes", ["text_key"])


def downgrade() -> None:
    """Drop them; what the memory answered counts as the version's own."""
    op.drop_table("lesson_changes")
    op.drop_index("ix_corrections_annotator", "corrections")
    op.drop_column("corrections", "model_label")
    op.drop_column("predictions", "model_score")
    op.drop_column("predictions", "model_label")
