"""What is held back from training and why, and what people are asked to look at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None

_Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables of suspicions and of the review queue."""
    op.create_table(
        "suspicions",
        sa.Column("sequence", _Sequence, autoincrement=False, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("model_version", sa.String(200)),
        sa.Column("model_label", sa.Text),
        sa.Column("model_score", sa.Float),
        sa.Column("decided_by", sa.String(200)),
        sa.Column("decided_why", sa.Text),
        sa.Column("created_at", _Moment, nullable=False),
        sa.Column("decided_at", _Moment),
        sa.PrimaryKeyConstraint("sequence", name="pk_suspicions"),
    )
    op.create_index("ix_suspicions_state", "suspicions", ["state"])
    _create_review()


def downgrade() -> None:
    """Drop them; what was held back counts again."""
    for table in ("review_skips", "review_items", "suspicions"):
        op.drop_table(table)


def _create_review() -> None:
    op.create_table(
        "review_items",
        sa.Column("sequence", _Sequence, autoincrement=True, nullable=False),
        sa.Column("item_id", sa.String(40), nullable=False),
        sa.Column("stratum", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("prediction_id", sa.String(200)),
        sa.Column("correction_sequence", _Sequence),
        sa.Column("text_key", sa.String(32), nullable=False),
        sa.Column("priority", sa.Float, nullable=False),
        sa.Column("inclusion_probability", sa.Float),
        sa.Column("model_version", sa.String(200)),
        sa.Column("predicted_label", sa.Text),
        sa.Column("score", sa.Float),
        sa.Column("created_at", _Moment, nullable=False),
        sa.Column("holder", sa.String(200)),
        sa.Column("leased_until", _Moment),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("annotator", sa.String(200)),
        sa.Column("label", sa.Text),
        sa.Column("answered_at", _Moment),
        sa.PrimaryKeyConstraint("sequence", name="pk_review_items"),
        sa.UniqueConstraint("item_id", name="uq_review_items_item_id"),
        sa.UniqueConstraint("prediction_id", name="uq_review_items_prediction_id"),
        sa.UniqueConstraint("correction_sequence", name="uq_review_items_correction_sequence"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_review_items_text_key", "review_items", ["text_key"])
    op.create_index("ix_review_items_state", "review_items", ["state", "stratum", "priority"])
    op.create_index("ix_review_items_model_version", "review_items", ["model_version", "stratum"])
    op.create_table(
        "review_skips",
        sa.Column("item_id", sa.String(40), nullable=False),
        sa.Column("annotator", sa.String(200), nullable=False),
        sa.Column("created_at", _Moment, nullable=False),
        sa.PrimaryKeyConstraint("item_id", "annotator", name="pk_review_skips"),
        sa.ForeignKeyConstraint(
            ["item_id"], ["review_items.item_id"], name="fk_review_skips_item_id_review_items", ondelete="CASCADE"
        ),
    )
