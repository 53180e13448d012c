"""The migrations make the tables the code names, from nothing, whoever comes first."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, make_url, text

from core.errors import StoreUnavailable
from core.schemas import CorrectionRequest
from core.text import text_key
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
_WHEN = "2025-01-02 03:04:05.000000"
_BODY = {"annotator": None, "confidence": None, "label": "x", "metadata": None, "prediction_id": "p1", "text": None}
_ANSWER: dict[str, object] = {
    **dict.fromkeys(("annotator", "confidence")),
    "correction_id": "c_1",
    "kind": "correction",
    "label": "x",
    "predicted_label": "y",
    "prediction_id": "p1",
    "model_version": "v1",
    "created_at": "2025-01-02T03:04:05Z",
    "used_by": [],
    "withdrawn": False,
}
# As the first release wrote them.
_ROWS: dict[str, dict[str, object]] = {
    "predictions": {
        "prediction_id": "p1",
        "created_at": _WHEN,
        "text": "a",
        "text_key": text_key("a"),
        "label": "y",
        "score": 0.5,
        "model_version": "v1",
        "source": "head",
    },
    "corrections": {
        "correction_id": "c_1",
        "kind": "correction",
        "prediction_id": "p1",
        "text": "a",
        "text_key": text_key("a"),
        "label": "x",
        "predicted_label": "y",
        "model_version": "v1",
        "created_at": _WHEN,
    },
    "idempotency": {
        "key": "k",
        "body_sha256": hashlib.sha256(json.dumps(_BODY, sort_keys=True, separators=(",", ":")).encode()).hexdigest(),
        "answer": json.dumps(_ANSWER),
        "created_at": _WHEN,
    },
}


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


@pytest.mark.parametrize("schema", ["0001", "0002"])
def test_a_store_of_an_earlier_release_is_brought_forward_with_all_its_data(store_url: str, schema: str) -> None:
    engine = create_engine(make_url(store_url))
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "feedback:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, schema)
        for table, row in _ROWS.items():
            names = ", ".join(row)
            statement = f"INSERT INTO {table} ({names}) VALUES (:{', :'.join(row)})"  # noqa: S608 - names from this file
            connection.execute(text(statement), row)
    engine.dispose()
    store = Store.open(store_url)
    prediction = store.prediction("p1")
    assert (prediction.text, prediction.label, prediction.text_kept, prediction.sample_ratio) == ("a", "y", "full", 1.0)
    (learned,) = store.training_corrections()
    assert (learned.sequence, learned.text, learned.label, learned.model_version) == (1, "a", "x", "v1")
    assert store.label_outcomes()["v1"].wrong == 1
    # A key from then still meets its body.
    again = store.add_correction(CorrectionRequest(prediction_id="p1", label="x"), idempotency_key="k")
    assert again.correction_id == "c_1"
    assert store.add_correction(CorrectionRequest(text="b", label="x")).correction_id != "c_1"
    assert store.last_sequence() == 2
    store.close()


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
        connection.execute(text("UPDATE alembic_version SET version_num = '9999', oldest_reader = '9999'"))
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
