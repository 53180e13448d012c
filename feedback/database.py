"""One engine, its transactions and its schema."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import TypeVar

from filelock import FileLock
from sqlalchemy import Connection, DateTime, Engine, Table, func, select, text
from sqlalchemy.dialects import postgresql, sqlite

from core.discretion import AS_SENT, Discretion
from core.errors import StoreUnavailable
from core.schemas import now
from feedback.engine import open_engine
from feedback.failures import translated
from feedback.group_commit import GroupCommit
from feedback.schema import SchemaState, migrate, set_wal, state_of

Result = TypeVar("Result")

# Names of PostgreSQL's advisory locks; any two different numbers that nothing else in the database uses.
_MIGRATION_LOCK = 0x686F6E65_0001
_ORDER_LOCK = 0x686F6E65_0002
_TAKE_ORDER = text("SELECT set_config('idle_in_transaction_session_timeout', '10s', true), pg_advisory_xact_lock(:lock)")


class Database:
    """The ground under every part of the store.

    Nothing is opened before the first use, and a database that was away is tried again at the next: the object can be made
    while the database is down. May be shared by threads.

    Raises:
        StoreUnavailable: when the address cannot be used at all.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = 5.0, discretion: Discretion = AS_SENT) -> None:
        self._discretion = discretion
        self._engine: Engine = open_engine(url, busy_timeout_s)
        self._busy_timeout_s = busy_timeout_s
        self._sqlite = self._engine.dialect.name == "sqlite"
        # SQLite lets one writer in at a time and its waiters poll; a lock wakes this process's own ones in turn, at once.
        self._writer = threading.Lock()
        self._group = GroupCommit(self._writing_in_order, busy_timeout_s)
        self._preparing = threading.Lock()
        self._prepared = threading.Event()

    def prepare(self) -> None:
        """Bring the schema to this release's, creating the database where there is none; cheap once that was done.

        A schema that a later release has brought further is left alone, where that release says that this one may use it.

        Raises:
            StoreUnavailable: when the database does not answer, or was written by a release this one does not know.
        """
        if self._prepared.is_set():
            return
        with translated(), self._preparing, self._alone():
            if self._prepared.is_set():
                return
            if self._sqlite:
                set_wal(self._engine)
            with self._connect_to_write() as connection, connection.begin():
                if not self._sqlite:
                    # Others may be migrating, and that takes as long as it takes.
                    connection.execute(text("SET LOCAL lock_timeout = 0"))
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
                if not state_of(connection).usable:
                    migrate(connection)
            self._prepared.set()

    def schema_state(self) -> SchemaState:
        """Return how the schema stands, and bring it nowhere.

        Raises:
            StoreUnavailable: when the database does not answer.
        """
        with translated(), self._engine.connect() as connection, connection.begin():
            return state_of(connection)

    def ping(self) -> None:
        """Return when the database has answered.

        Raises:
            StoreUnavailable: when it does not.
        """
        with self._reading() as connection:
            connection.execute(select(1))

    def close(self) -> None:
        """Give the connections back; a later use opens new ones."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self.prepare()
        with translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One short transaction, committed at the end of the block or undone altogether."""
        self.prepare()
        with translated(), self._turn(), self._connect_to_write() as connection, connection.begin():
            yield connection

    def _write(self, work: Callable[[Connection], Result]) -> Result:
        """Return what ``work`` returned once that is durable; writers that come at the same time share a transaction.

        ``work`` is undone by itself when it fails, and its rows get their sequence numbers in order.
        """
        return self._group.run(work)

    @contextmanager
    def _writing_in_order(self) -> Iterator[Connection]:
        with self._writing() as connection:
            # Before any row is touched: two groups that met over each other's idempotency keys would wait for ever.
            keep_order(connection)
            yield connection

    def _connect_to_write(self) -> Connection:
        return self._engine.connect().execution_options(hone_write=True)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._sqlite:
            yield
            return
        if not self._writer.acquire(timeout=self._busy_timeout_s):
            raise StoreUnavailable(f"the feedback store was busy for {self._busy_timeout_s:g} s; try again", reason="busy")
        try:
            yield
        finally:
            self._writer.release()

    def _alone(self) -> FileLock | nullcontext[None]:
        # Switching a new SQLite file to WAL fails when somebody else has it open, so openers go one after another.
        if not self._sqlite:
            return nullcontext()
        return FileLock(f"{self._engine.url.database}.lock", timeout=max(30.0, self._busy_timeout_s))


def keep_order(connection: Connection) -> None:
    """Make sequence numbers become visible in the order in which they are given, until this transaction ends.

    Without it PostgreSQL may commit number 8 before 7, and a run that had read up to 8 would never see 7. All others that write
    wait meanwhile, so a process that stops in the middle is thrown out.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_TAKE_ORDER, {"lock": _ORDER_LOCK})


def clock(connection: Connection) -> datetime:
    """Return the time all users of this database agree on: its own where it is a server, else this machine's."""
    if connection.dialect.name == "postgresql":
        return connection.execute(select(func.clock_timestamp(type_=DateTime(timezone=True)))).scalar_one()
    return now()


def insert_into(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT of this dialect, which can say what to do on conflict."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
