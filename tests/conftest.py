"""What holds for every test of every room."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from core import encoder
from tests.postgresql import PostgreSQL, find_programs


@pytest.fixture(autouse=True)
def no_encoder_from_before() -> None:
    """Let no test find an encoder in memory that another test has loaded: what is held need not be read again."""
    with encoder._sessions_lock:
        encoder._sessions.clear()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """Give a running PostgreSQL server; without its programs the test is skipped, except where CI has installed them."""
    programs = find_programs()
    if programs is None:
        assert not os.environ.get("CI"), "CI runs the contract over PostgreSQL as well, and its programs are not installed"
        pytest.skip("PostgreSQL's programs (initdb, postgres) are neither on PATH nor under /usr/lib/postgresql")
    server = PostgreSQL(programs)
    try:
        server.start()
        yield server
    finally:
        server.remove()
