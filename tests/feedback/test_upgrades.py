"""Two releases on one store: the newer one migrates it, the older one goes on, and may come back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy import JSON, Column, Connection, DateTime, Engine, Float, Integer, Table, create_engine, make_url, text

from core.errors import StoreUnavailable
from core.schemas import CorrectionRequest
from feedback.schema import migrate, state_of, tables_of
from feedback.store import Store
from feedback.tables import SCHEMA
from tests.feedback.records import prediction

_AT = datetime(2026, 1, 2, tzinfo=UTC)
# Nobody changes what stands in it, by a rule of the database.
_APPEND_ONLY = {"trail"}
# Migrations before this one were never meant to be shared by two releases.
_FIRST_PROMISE = 12


def _scripts() -> list[Script]:
    config = Config()
    config.set_main_option("script_location", "feedback:migrations")
    return list(ScriptDirectory.from_config(config).walk_revisions())


PROMISES = [(script.module.oldest_reader, script.revision) for script in _scripts() if int(script.revision) >= _FIRST_PROMISE]


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    made = create_engine(make_url(store_url))
    yield made
    made.dispose()


def test_every_migration_says_which_release_may_go_on_and_that_is_the_one_before_at_least() -> None:
    by_name = {script.revision: script for script in _scripts()}
    assert all(len(name) == 4 and name.isdigit() for name in by_name), "they are compared as text"
    assert PROMISES
    for oldest, revision in PROMISES:
        assert oldest in by_name
        assert oldest <= str(by_name[revision].down_revision)


@pytest.mark.parametrize(("oldest", "revision"), PROMISES)
def test_what_the_release_before_writes_and_reads_it_still_can(engine: Engine, oldest: str, revision: str) -> None:
    with engine.begin() as connection:
        migrate(connection, oldest)
        # As that release knows them: its statements name these columns and no others.
        known = tables_of(connection)
        migrate(connection, revision)
    with engine.begin() as connection:
        for table in known:
            row = {column.name: _value(column) for column in table.columns if not column.nullable or column.foreign_keys}
            connection.execute(table.insert().values(row))
            assert len(connection.execute(table.select()).all()) == 1
        for table in reversed(known):
            if table.name in _APPEND_ONLY:
                continue
            _change(connection, table)
            assert connection.execute(table.delete()).rowcount == 1


def _change(connection: Connection, table: Table) -> None:
    free = [column for column in table.columns if not column.primary_key and not column.foreign_keys]
    if free:
        assert connection.execute(table.update().values({column.name: _value(column) for column in free})).rowcount == 1


def _value(column: Column[Any]) -> Any:
    kind = column.type
    if isinstance(kind, DateTime):
        return _AT
    if isinstance(kind, JSON):
        return {}
    if isinstance(kind, Integer | Float):
        return 1
    return True if kind.python_type is bool else "1"


def _later(engine: Engine, oldest: str) -> None:
    """Do what a later release's migration might: a table, a column with a default, one that may be empty."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE later (name VARCHAR(20) PRIMARY KEY)"))
        connection.execute(text("ALTER TABLE corrections ADD COLUMN later_note TEXT"))
        connection.execute(text("ALTER TABLE predictions ADD COLUMN later_count INTEGER DEFAULT 0 NOT NULL"))
        told = text("UPDATE alembic_version SET version_num = '9999', oldest_reader = :oldest")
        connection.execute(told, {"oldest": oldest})


def test_this_release_goes_on_with_a_store_that_a_later_one_has_migrated(store: Store, store_url: str, engine: Engine) -> None:
    store.add_correction(CorrectionRequest(text="before", label="x"))
    _later(engine, SCHEMA)
    # The process that had it open already, and one that starts now: after a crash, or because the upgrade was taken back.
    store.add_correction(CorrectionRequest(text="meanwhile", label="x"))
    again = Store.open(store_url)
    again.log_predictions([prediction()])
    again.add_correction(CorrectionRequest(prediction_id=prediction().prediction_id, label="x"))
    assert again.correction_count() == 3
    assert [learned.sequence for learned in again.training_corrections()] == [1, 2, 3]
    assert again.schema_state().newer
    with engine.connect() as connection:
        assert state_of(connection).found == "9999", "it was not brought anywhere"
    with pytest.raises(StoreUnavailable, match="make the backup with that release"), again.dump():
        pass
    again.close()


def test_a_later_release_that_leaves_this_one_behind_is_not_meddled_with(store: Store, store_url: str, engine: Engine) -> None:
    store.close()
    _later(engine, "9998")
    with pytest.raises(StoreUnavailable, match="newer"):
        Store.open(store_url)


def test_a_database_of_the_release_before_this_promise_is_brought_forward(store_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        migrate(connection)
        connection.execute(text("ALTER TABLE alembic_version DROP COLUMN oldest_reader"))
        assert state_of(connection).usable
    Store.open(store_url).close()
