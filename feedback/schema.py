"""Making, finding and removing the schema of a database."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, MetaData, Table, inspect, text

from core.errors import StoreUnavailable
from feedback.tables import SCHEMA, metadata

_VERSION = "alembic_version"
# Beside the schema stands the oldest one whose release may go on using the store; Alembic leaves the column alone.
_OLDEST = "oldest_reader"


@dataclass(frozen=True)
class SchemaState:
    """The newest migration a database has seen, None where it is empty, and the oldest schema whose release may use it."""

    found: str | None
    oldest_reader: str | None

    @property
    def usable(self) -> bool:
        """Whether this release can use it as it is: it is its own, or a later one that was made for both."""
        if self.found is None or self.found <= SCHEMA:
            return self.found == SCHEMA
        return self.oldest_reader is not None and self.oldest_reader <= SCHEMA

    @property
    def newer(self) -> bool:
        """Whether a later release has migrated it."""
        return self.found is not None and self.found > SCHEMA


def set_wal(engine: Engine) -> None:
    """Have a SQLite file log ahead, so that readers and a writer do not wait for each other."""
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def schema_of(connection: Connection) -> str | None:
    """Return the newest migration that a database has seen, or None where it is empty."""
    if not inspect(connection).has_table(_VERSION):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {_VERSION}")).scalar()  # noqa: S608 - a constant
    return None if found is None else str(found)


def state_of(connection: Connection) -> SchemaState:
    """Return how the schema stands, and who may use it."""
    found = schema_of(connection)
    told = found is not None and any(column["name"] == _OLDEST for column in inspect(connection).get_columns(_VERSION))
    oldest = connection.execute(text(f"SELECT {_OLDEST} FROM {_VERSION}")).scalar() if told else None  # noqa: S608 - constants
    return SchemaState(found, None if oldest is None else str(oldest))


def migrate(connection: Connection, schema: str = "head") -> None:
    """Bring the schema up to ``schema``, a migration's name.

    Raises:
        StoreUnavailable: the database has one that this release does not know.
    """
    # Imported here because most starts find the schema in place and need not pay for it.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "feedback:migrations")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, schema)
        reached = ScriptDirectory.from_config(config).get_revision(schema)
    except CommandError as error:
        raise StoreUnavailable(
            f"the feedback store has a schema this release does not know; this release reads up to {SCHEMA}, "
            "so start the release that wrote the store, or a newer one",
            reason="schema",
        ) from error
    _note_oldest_reader(connection, getattr(reached.module, _OLDEST, reached.revision))


def tables_of(connection: Connection) -> tuple[Table, ...]:
    """Return Hone's tables as the database has them, those that others refer to first."""
    return tuple(_reflect(connection, *metadata.tables).sorted_tables)


def empty_database(connection: Connection) -> None:
    """Remove everything that migrations make, whichever of them were run; what else is in the database stays."""
    _reflect(connection, *metadata.tables, _VERSION).drop_all(connection)
    if connection.dialect.name == "postgresql":
        connection.execute(text("DROP FUNCTION IF EXISTS trail_append_only()"))


def _note_oldest_reader(connection: Connection, oldest: str) -> None:
    if _OLDEST not in [column["name"] for column in inspect(connection).get_columns(_VERSION)]:
        connection.execute(text(f"ALTER TABLE {_VERSION} ADD COLUMN {_OLDEST} VARCHAR(32)"))
    connection.execute(text(f"UPDATE {_VERSION} SET {_OLDEST} = :oldest"), {"oldest": oldest})  # noqa: S608 - constants


def _reflect(connection: Connection, *names: str) -> MetaData:
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name in names, resolve_fks=False)
    return found
