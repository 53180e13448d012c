"""A database that cannot be used becomes one error, and work goes on when it is back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from core.errors import StoreUnavailable
from core.schemas import CorrectionRequest
from feedback.store import Store


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://user:secret@host/db", "oracle://host/db"],
)
def test_addresses_that_name_no_store_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        Store.open(url)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreUnavailable) as caught:
        Store.open("postgresql://hone:secret@127.0.0.1:1/none")
    assert "secret" not in str(caught.value)


def test_a_store_can_be_made_before_its_database_can_be_reached(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    store = Store(f"sqlite:///{folder / 'feedback.db'}")
    folder.write_text("what is mounted here later is not there yet")
    with pytest.raises(StoreUnavailable):
        store.ping()
    folder.unlink()
    folder.mkdir()
    store.ping()
    assert store.last_sequence() == 0
    store.close()


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "feedback.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(StoreUnavailable):
        Store.open(f"sqlite:///{tmp_path / 'feedback.db'}")


def test_a_locked_database_is_unavailable_and_then_works_again(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    store = Store.open(f"sqlite:///{path}", busy_timeout_s=0.05)
    with _locked(path), pytest.raises(StoreUnavailable) as caught:
        store.add_correction(CorrectionRequest(text="my secret", label="x"), idempotency_key="k")
    assert caught.value.details["reason"] == "SQLITE_BUSY"
    assert "secret" not in f"{caught.value} {caught.value.__cause__}"
    assert store.last_sequence() == 0
    assert store.add_correction(CorrectionRequest(text="my secret", label="x"), idempotency_key="k").label == "x"
    store.close()


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    store = Store.open(f"sqlite:///{path}", busy_timeout_s=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.last_sequence() == 0
    store.close()
