"""Opening the SQLAlchemy engine of the feedback store, for SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy import exc as sql
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.pool import ConnectionPoolEntry

from core.errors import StoreUnavailable

_CONNECT_TIMEOUT_S = 5
# A server whose machine is gone answers nothing, not even with a refusal: after this the connection counts as broken.
_SILENCE_MS = 15_000
# After these the file may have been replaced, or opened while it could only be read; what was opened then stays as it was.
_REOPENED_AFTER = ("SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FULL")
_POSTGRESQL = frozenset({"postgres", "postgresql"})


def open_engine(url: str, busy_timeout_s: float) -> Engine:
    """Return an engine that has not connected yet; writers wait up to ``busy_timeout_s`` for each other.

    Raises:
        StoreUnavailable: when the address is not one of a SQLite file or a PostgreSQL database, or its driver is not installed.
    """
    address = _address(url)
    try:
        if address.get_backend_name() == "postgresql":
            return _open_postgresql(address, busy_timeout_s)
        return _open_sqlite(address, busy_timeout_s)
    except (ImportError, sql.ArgumentError) as error:
        raise StoreUnavailable(
            f"no driver for the feedback store's address ({address.drivername}) is installed; "
            "sqlite needs none, for PostgreSQL install psycopg",
            reason="driver",
        ) from error


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except sql.ArgumentError:
        # Not chained, and the address is not repeated: it may hold a password.
        raise StoreUnavailable("HONE_STORE_URL is not an address SQLAlchemy can read", reason="address") from None
    if address.drivername in _POSTGRESQL:
        address = address.set(drivername="postgresql+psycopg")
    on_disk = bool(address.database) and address.database != ":memory:"
    if address.get_backend_name() == "postgresql" or (address.get_backend_name() == "sqlite" and on_disk):
        return address
    raise StoreUnavailable(
        f"HONE_STORE_URL names {address.drivername}; the feedback store is a SQLite file (sqlite:///FILE) "
        "or PostgreSQL (postgresql://…)",
        reason="address",
    )


def _open_postgresql(address: URL, busy_timeout_s: float) -> Engine:
    return create_engine(
        address,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_timeout=busy_timeout_s,
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "tcp_user_timeout": _SILENCE_MS,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            # As long as SQLite waits: whoever else holds the lock may hang.
            "options": f"-c lock_timeout={int(busy_timeout_s * 1000)}",
        },
    )


def _open_sqlite(address: URL, busy_timeout_s: float) -> Engine:
    engine = create_engine(
        address,
        # Parameters are users' texts; without this they would stand in every error and every log of one.
        hide_parameters=True,
        pool_timeout=busy_timeout_s,
        connect_args={"timeout": busy_timeout_s},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        # The driver would begin transactions by itself, and late; `begin` below does it instead.
        connection.isolation_level = None
        cursor: Any = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={int(busy_timeout_s * 1000)}")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes the lock at once: one that read first could be refused when it comes to write.
        write = connection.get_execution_options().get("hone_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    @event.listens_for(engine, "handle_error")
    def reopen(context: ExceptionContext) -> None:
        if str(getattr(context.original_exception, "sqlite_errorname", "")).startswith(_REOPENED_AFTER):
            context.is_disconnect = True

    return engine
