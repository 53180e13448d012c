"""The whole store as rows, out of one database and into another of either kind.

Tables are found by looking and not by name, so a backup holds what the database holds, whatever its release; rows go into the
schema they came from, which is then brought up to date like any store of that age.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Column, Connection, DateTime, String, Table, bindparam, cast, select, text, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from core.errors import BackupDamaged, StoreUnavailable
from core.privacy_bodies import TrailProof
from feedback.archive import BackupManifest
from feedback.database import Database
from feedback.failures import translated
from feedback.schema import empty_database, migrate, schema_of, set_wal, state_of, tables_of
from feedback.tables import SCHEMA
from feedback.trail import START

# Who is at work, and since when: of no use to a store that nobody is at work on.
_PASSING = frozenset({"leases", "replicas"})
_PART_BYTES = 8_000_000
_PAGE_ROWS = 1_000


@dataclass(frozen=True)
class Dump:
    """A store as it was at one moment, read from an open transaction."""

    connection: Connection
    schema: str
    tables: tuple[Table, ...]

    def parts(self, table: Table) -> Iterator[tuple[bytes, int]]:
        """Yield the table's rows as lines of JSON, each an array, some megabytes at a time, with their number."""
        order = list(table.primary_key.columns)
        rows = self.connection.execution_options(yield_per=_PAGE_ROWS).execute(
            select(*map(_read, table.columns)).order_by(*order)
        )
        lines: list[bytes] = []
        size_bytes = 0
        for row in rows:
            lines.append(json.dumps([_plain(value) for value in row], separators=(",", ":")).encode() + b"\n")
            size_bytes += len(lines[-1])
            if size_bytes >= _PART_BYTES:
                yield b"".join(lines), len(lines)
                lines, size_bytes = [], 0
        if lines:
            yield b"".join(lines), len(lines)

    def sequences(self) -> dict[str, int]:
        """Return the highest number each counting table ever gave."""
        if self.connection.dialect.name == "sqlite":
            rows = self.connection.execute(text("SELECT name, seq FROM sqlite_sequence"))
            return {name: int(last) for name, last in rows if name not in _PASSING}
        found = {}
        for table in self.tables:
            sequence = _sequence_of(self.connection, table)
            if sequence is not None:
                # The name comes from the database itself.
                last, called = self.connection.execute(text(f"SELECT last_value, is_called FROM {sequence}")).one()  # noqa: S608
                found[table.name] = int(last) if called else int(last) - 1
        return found

    def trail(self) -> TrailProof:
        """Return where the audit trail stands."""
        trail = next(table for table in self.tables if table.name == "trail")
        newest = select(trail.c.sequence, trail.c.hash).order_by(trail.c.sequence.desc()).limit(1)
        last = self.connection.execute(newest).one_or_none()
        return TrailProof(entries=last.sequence if last else 0, last_hash=last.hash if last else START)


class Dumps(Database):
    """The part of the store that is copied as a whole, and filled as a whole."""

    @contextmanager
    def dump(self) -> Iterator[Dump]:
        """Give the store as it is now; who writes meanwhile does not wait, and is not in it."""
        self.prepare()
        with translated(), self._engine.connect() as connection:
            if not self._sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                if state_of(connection).newer:
                    raise StoreUnavailable(
                        f"a later release has migrated the feedback store, and this one knows its tables up to {SCHEMA} only; "
                        "make the backup with that release",
                        reason="schema",
                    )
                yield Dump(connection, str(schema_of(connection)), _tables(connection))

    def holds_anything(self) -> bool:
        """Return whether any table has a row that a restored backup would replace.

        Raises:
            StoreUnavailable: nobody can say.
        """
        with translated(), self._engine.connect() as connection, connection.begin():
            return any(connection.execute(select(1).select_from(table).limit(1)).first() for table in _tables(connection))

    def fill(self, manifest: BackupManifest, parts: Iterable[tuple[str, bytes]]) -> None:
        """Replace everything by ``parts``, pairs of a table's name and lines of JSON, parents before children: all or nothing.

        Raises:
            BackupDamaged: the rows do not fit the schema, or are others than the manifest promises.
            StoreUnavailable: the database cannot be written; it is as it was.
        """
        with translated(), self._alone():
            if self._sqlite:
                set_wal(self._engine)
            with self._connect_to_write() as connection, connection.begin():
                empty_database(connection)
                migrate(connection, manifest.store_schema)
                tables = {table.name: table for table in _tables(connection)}
                for name, data in parts:
                    expected = manifest.tables.get(name)
                    if (
                        expected is None
                        or name not in tables
                        or sorted(expected.columns) != sorted(tables[name].columns.keys())
                    ):
                        raise BackupDamaged(f"the backup's table {name} is not as schema {manifest.store_schema} has it")
                    _insert(connection, tables[name], expected.columns, data)
                _count_on(connection, tables, manifest.sequences)
                migrate(connection)
                if Dump(connection, manifest.store_schema, _tables(connection)).trail() != manifest.trail:
                    raise BackupDamaged("the backup's audit trail does not end as it did when the backup was made")


def _tables(connection: Connection) -> tuple[Table, ...]:
    return tuple(table for table in tables_of(connection) if table.name not in _PASSING)


def _read(column: Column[Any]) -> ColumnElement[Any]:
    if not isinstance(column.type, JSON):
        return column
    # As text, which tells null in the document from none at all, and keeps the order of its names.
    return cast(column, String) if column.type.__module__.endswith("postgresql.json") else type_coerce(column, String)


def _plain(value: object) -> object:
    if not isinstance(value, datetime):
        return value
    return (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()


def _insert(connection: Connection, table: Table, names: Sequence[str], data: bytes) -> None:
    sqlite = connection.dialect.name == "sqlite"
    quote = connection.dialect.identifier_preparer.quote
    kinds = [table.columns[name].type for name in names]
    places = [f"CAST(:c{at} AS JSON)" if isinstance(kind, JSON) and not sqlite else f":c{at}" for at, kind in enumerate(kinds)]
    moments = [at for at, kind in enumerate(kinds) if isinstance(kind, DateTime)]
    # Names come from the database itself, and values are bound.
    statement = text(f"INSERT INTO {quote(table.name)} ({', '.join(map(quote, names))}) VALUES ({', '.join(places)})")  # noqa: S608
    statement = statement.bindparams(*(bindparam(f"c{at}", type_=DateTime(timezone=not sqlite)) for at in moments))
    rows = []
    try:
        for line in data.splitlines():
            row = json.loads(line)
            for at in moments:
                if row[at] is not None:
                    moment = datetime.fromisoformat(row[at])
                    row[at] = moment.replace(tzinfo=None) if sqlite else moment
            rows.append({f"c{at}": value for at, value in enumerate(row)})
    except (ValueError, IndexError, TypeError) as error:
        raise BackupDamaged(f"the backup's table {table.name} holds a row that cannot be read") from error
    for start in range(0, len(rows), _PAGE_ROWS):
        connection.execute(statement, rows[start : start + _PAGE_ROWS])


def _count_on(connection: Connection, tables: dict[str, Table], sequences: dict[str, int]) -> None:
    """Have each counting table go on where it had stopped: runs remember numbers of rows that are gone."""
    for name, last in sequences.items():
        if connection.dialect.name == "sqlite":
            connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": name})
            connection.execute(
                text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), {"name": name, "last": last}
            )
        elif name in tables and (sequence := _sequence_of(connection, tables[name])) is not None:
            values = {"sequence": sequence, "last": max(last, 1), "called": last > 0}
            connection.execute(text("SELECT setval(CAST(:sequence AS regclass), :last, :called)"), values)


def _sequence_of(connection: Connection, table: Table) -> str | None:
    if "sequence" not in table.columns:
        return None
    found = text("SELECT pg_get_serial_sequence(:table, 'sequence')")
    return connection.execute(found, {"table": table.name}).scalar()
