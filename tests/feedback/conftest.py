"""Every contract test runs over every kind of database that is at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from feedback.store import Store

_POSTGRES = os.environ.get("HONE_TEST_POSTGRES_URL", "")


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'feedback.db'}"
        return
    if not _POSTGRES:
        pytest.skip("HONE_TEST_POSTGRES_URL names no PostgreSQL server (postgresql://user:password@host:port/database)")
    server = make_url(_POSTGRES).set(drivername="postgresql+psycopg")
    name = f"hone_test_{uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """Give an open store over an empty database."""
    opened = Store.open(store_url)
    try:
        yield opened
    finally:
        opened.close()
