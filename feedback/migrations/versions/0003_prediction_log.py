"""What the prediction log keeps of a text, and how many it stands for; and indices for stores of millions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the columns, with what held so far, and the indices."""
    op.add_column("predictions", sa.Column("text_kept", sa.String(20), nullable=False, server_default="full"))
    op.add_column("predictions", sa.Column("sample_ratio", sa.Float, nullable=False, server_default="1.0"))
    op.drop_index("ix_predictions_model_version", "predictions")
    op.create_index("ix_predictions_model_version", "predictions", ["model_version", "score"])
    op.create_index("ix_predictions_created_at", "predictions", ["created_at"])


def downgrade() -> None:
    """Drop the columns and indices; texts that were not kept stay empty."""
    op.drop_index("ix_predictions_created_at", "predictions")
    op.drop_index("ix_predictions_model_version", "predictions")
    op.create_index("ix_predictions_model_version", "predictions", ["model_version"])
    op.drop_column("predictions", "sample_ratio")
    op.drop_column("predictions", "text_kept")
