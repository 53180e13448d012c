"""Alembic's entry point: migrates on the connection it is handed, inside that connection's transaction."""

from __future__ import annotations

from alembic import context

from feedback.tables import metadata


def migrate() -> None:
    """Run the wanted migrations; the caller begins, guards and commits the transaction."""
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    context.run_migrations()


migrate()
