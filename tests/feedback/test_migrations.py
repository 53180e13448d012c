"""The migrations make the tables the code names, from nothing, whoever comes first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, make_url, text

from core.errors import StoreUnavailable
from core.schemas import CorrectionRequest
from feedback.store import Store
from feedback.tables import SCHEMA, metadata

_OPEN_AND_WRITE = """
import sys
from core.schemas import CorrectionRequest
from feedback.store import Store
print("ready", flush=True)
sys.stdin.readline()
store = Store.open(sys.argv[1])
store.add_correction(CorrectionRequest(text=sys.argv[2], label="x"))
print(store.add_correction(CorrectionRequest(text="shared", label="x"), idempotency_key="shared").correction_id)
"""
_ROOT = Path(__file__).parents[2]


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", "feedback:migrations")
    return ScriptDirectory.from_config(config)


def test_migrations_lead_to_the_tables_of_the_code(store: Store, store_url: str) -> None:
    store.close()
    engine = create_engine(make_url(store_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert context.get_current_revision() == SCHEMA
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_code_names_the_newest_migration() -> None:
    assert _scripts().get_heads() == [SCHEMA]


def test_opening_again_keeps_what_is_there(store: Store, store_url: str) -> None:
    answer = store.add_correction(CorrectionRequest(text="a", label="x"))
    store.close()
    again = Store.open(store_url)
    assert again.correction(answer.correction_id) == answer
    again.close()


def test_a_store_of_a_newer_release_is_refused_unchanged(store: Store, store_url: str) -> None:
    store.close()
    engine = create_engine(make_url(store_url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreUnavailable, match="newer"):
        Store.open(store_url)
    assert "corrections" in inspect(engine).get_table_names()
    engine.dispose()


def test_processes_may_open_a_fresh_database_at_once(store_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _OPEN_AND_WRITE, store_url, f"text {number}"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    # Their own correction each, and the one that all three sent with one key.
    assert len(answers) == 1
    store = Store.open(store_url)
    assert store.correction_count() == 4
    store.close()


def test_sqlite_survives_power_cuts_by_its_settings(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'feedback.db'}", busy_timeout_s=1.5)
    with store._reading() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    store.close()
    full = 2
    assert found == {"journal_mode": "wal", "synchronous": full, "foreign_keys": 1, "busy_timeout": 1500}
