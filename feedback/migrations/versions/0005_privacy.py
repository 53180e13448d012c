"""Subjects, erasures and the audit trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

_Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Moment = sa.DateTime(timezone=True)

_SQLITE_APPEND_ONLY = """
CREATE TRIGGER trail_{event} BEFORE {event} ON trail
BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END
"""
_POSTGRESQL_FUNCTION = """
CREATE FUNCTION trail_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the trail is append-only'; END $$
"""
_POSTGRESQL_TRIGGER = """
CREATE TRIGGER trail_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON trail
FOR EACH STATEMENT EXECUTE FUNCTION trail_append_only()
"""


def upgrade() -> None:
    """Add the subject to what people send, and create the tables."""
    for table in ("predictions", "corrections"):
        op.add_column(table, sa.Column("subject", sa.String(100)))
        op.create_index(f"ix_{table}_subject", table, ["subject"])
    op.create_index("ix_corrections_created_at", "corrections", ["created_at"])
    _create_erasures()
    _create_trail()


def downgrade() -> None:
    """Drop the tables and the subjects; what was erased stays erased."""
    for table in ("trail", "erased_corrections", "erasures"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION trail_append_only()")
    op.drop_index("ix_corrections_created_at", "corrections")
    for table in ("corrections", "predictions"):
        op.drop_index(f"ix_{table}_subject", table)
        op.drop_column(table, "subject")


def _create_erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("sequence", _Sequence, autoincrement=True, nullable=False),
        sa.Column("erasure_id", sa.String(40), nullable=False),
        sa.Column("created_at", _Moment, nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("subject", sa.String(100)),
        sa.Column("text_keys", sa.JSON, nullable=False),
        sa.Column("to_sweep", sa.JSON),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.Column("run_id", sa.String(40)),
        sa.PrimaryKeyConstraint("sequence", name="pk_erasures"),
        sa.UniqueConstraint("erasure_id", name="uq_erasures_erasure_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "erased_corrections",
        sa.Column("sequence", _Sequence, autoincrement=False, nullable=False),
        sa.Column("erasure_id", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_erased_corrections"),
    )
    op.create_index("ix_erased_corrections_erasure_id", "erased_corrections", ["erasure_id"])


def _create_trail() -> None:
    op.create_table(
        "trail",
        sa.Column("sequence", _Sequence, autoincrement=False, nullable=False),
        sa.Column("at", _Moment, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(100), nullable=False),
        sa.Column("target", sa.String(300), nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_trail"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_POSTGRESQL_FUNCTION)
        op.execute(_POSTGRESQL_TRIGGER)
        return
    for event in ("UPDATE", "DELETE"):
        op.execute(_SQLITE_APPEND_ONLY.format(event=event))
