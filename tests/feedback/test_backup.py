"""What was backed up comes back, row by row and byte by byte, into either kind of database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, make_url, select, text

from core.discretion import Discretion
from core.errors import BackupDamaged, Conflict, StoreUnavailable
from core.privacy_bodies import ErasureRequest
from core.registry import Registry
from core.schemas import CorrectionRequest
from core.settings import Settings
from feedback.backing_up import back_up
from feedback.dataset import BaseDataset
from feedback.erasing import erase
from feedback.examples import Example
from feedback.replicas import ReplicaReport
from feedback.restoring import restore
from feedback.spool import Spool
from feedback.store import Store
from feedback.tables import metadata
from tests.bundles import register_ngram_bundle
from tests.feedback.records import prediction
from tests.postgresql import PostgreSQL

_PASSING = {"leases", "replicas"}


@dataclass(frozen=True)
class Place:
    """A state folder with its store."""

    settings: Settings
    store: Store

    def back_up(self, path: Path) -> Path:
        """Write a backup and return where it lies."""
        return back_up(self.store, self.settings, path, "test").path

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return every row of every table."""
        engine = create_engine(make_url(self.settings.sqlalchemy_url))
        with engine.connect() as connection:
            found = {
                name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
                for name, table in metadata.tables.items()
                if name not in _PASSING
            }
        engine.dispose()
        return found

    def files(self) -> dict[str, bytes]:
        """Return what is in the state folder, apart from databases and locks."""
        root = self.settings.home.root
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and ".lock" not in path.name and "feedback.db" not in path.name
        }


def _place(home: Path, store_url: str = "") -> Place:
    made = Settings.model_validate({"HONE_HOME": home, "store_url": store_url})
    made.home.prepare()
    return Place(made, Store.of(made))


@pytest.fixture
def place(store_url: str, tmp_path: Path) -> Iterator[Place]:
    """Give a state folder in use, over either database."""
    made = _place(tmp_path / "home", "" if store_url.startswith("sqlite") else store_url)
    _fill(made)
    try:
        yield made
    finally:
        made.store.close()


def _fill(place: Place) -> None:
    """Have things said, corrected, withdrawn, erased, learned and promoted."""
    store, home = place.store, place.settings.home
    who = Discretion.of(place.settings).pseudonym("customer-1017")
    store.log_predictions([prediction(number, subject=who if number == 1 else None) for number in range(5)])
    store.log_predictions([prediction(5, text="好 \u2028 \N{PILE OF POO}", score=0.1 + 0.2, metadata=None)])
    store.add_correction(CorrectionRequest(prediction_id="p1", label="negative"), idempotency_key="k1")
    store.add_correction(CorrectionRequest(prediction_id="p2", label="positive", annotator="ada", confidence=0.9))
    store.add_correction(CorrectionRequest(text="gone soon", label="negative"))
    erase(store, place.settings, ErasureRequest(text="gone soon"), "test")
    run = store.create_run("head")
    store.claim_run("holder")
    store.update_run(run.run_id, stage="fitting", progress_ratio=0.5, metrics={"loss": 0.25})
    store.report_replica(ReplicaReport("replica-1", "v1", "serving"))
    registry = Registry(home.registry)
    registry.promote(register_ngram_bundle(registry), by="test", why="a fixture")
    register_ngram_bundle(registry, seed=1)
    BaseDataset.of([Example.of("base", "negative", split="train")]).save(home.datasets)
    spool = Spool(home.spool, 1_000_000)
    spool.append([prediction(6)])
    spool.release()


def test_everything_comes_back_into_an_empty_place(place: Place, tmp_path: Path) -> None:
    archive = place.back_up(tmp_path / "b.tar.gz")
    rows, files = place.rows(), place.files()
    fresh = _place(tmp_path / "other")
    report = restore(fresh.settings, archive, "test")
    assert (report.replaced, report.erased_again, report.trail_whole) == (None, 0, True)
    trail = rows.pop("trail")
    found = fresh.rows()
    assert found.pop("trail")[: len(trail)] == trail
    assert found == rows
    assert fresh.files() == files
    assert not list(fresh.settings.home.root.glob("*restoring*"))
    fresh.store.close()


def test_an_archive_of_sqlite_fills_postgresql_and_the_other_way_round(tmp_path: Path, postgresql: PostgreSQL) -> None:
    first = _place(tmp_path / "first")
    _fill(first)
    first.back_up(tmp_path / "1.tar.gz")
    rows = first.rows()
    first.store.close()
    with postgresql.database() as url:
        second = _place(tmp_path / "second", url)
        restore(second.settings, tmp_path / "1.tar.gz", "test")
        moved = second.rows()
        assert {name: found for name, found in moved.items() if name != "trail"} == {
            name: found for name, found in rows.items() if name != "trail"
        }
        second.back_up(tmp_path / "2.tar.gz")
        second.store.close()
        third = _place(tmp_path / "third")
        restore(third.settings, tmp_path / "2.tar.gz", "test")
        assert third.rows()["corrections"] == rows["corrections"]
        assert third.store.verify_trail().entries == first.store.verify_trail().entries + 3
        third.store.close()
        first.store.close()


def test_numbers_go_on_where_they_had_stopped_though_the_last_row_is_gone(place: Place, tmp_path: Path) -> None:
    archive = place.back_up(tmp_path / "b.tar.gz")
    fresh = _place(tmp_path / "other")
    restore(fresh.settings, archive, "test")
    fresh.store.add_correction(CorrectionRequest(text="new", label="negative"))
    assert [correction.sequence for correction in fresh.store.training_corrections()] == [1, 2, 4]
    fresh.store.close()


def test_a_correction_sent_again_with_its_key_counts_once_also_afterwards(place: Place, tmp_path: Path) -> None:
    fresh = _place(tmp_path / "other")
    restore(fresh.settings, place.back_up(tmp_path / "b.tar.gz"), "test")
    request = CorrectionRequest(prediction_id="p1", label="negative")
    again = fresh.store.add_correction(request, idempotency_key="k1")
    assert again == place.store.add_correction(request, idempotency_key="k1")
    assert fresh.store.correction_count() == place.store.correction_count()
    fresh.store.close()


def test_nothing_is_replaced_unless_it_is_said_and_then_it_lies_aside(place: Place, tmp_path: Path) -> None:
    archive = place.back_up(tmp_path / "b.tar.gz")
    place.store.forget_replica("replica-1")
    place.store.add_correction(CorrectionRequest(text="later", label="negative"))
    rows, files = place.rows(), place.files()
    with pytest.raises(Conflict, match="--overwrite"):
        restore(place.settings, archive, "test")
    assert (place.rows(), place.files()) == (rows, files)
    place.store.close()
    report = restore(place.settings, archive, "test", overwrite=True)
    assert report.replaced is not None
    assert (report.replaced / "registry" / "aliases.json").exists()
    assert (report.replaced / "feedback.db").exists() == (place.settings.store_url == "")
    assert len(place.rows()["corrections"]) == len(rows["corrections"]) - 1


@pytest.mark.parametrize("what", ["keys.json", "subjects.key"])
def test_a_place_with_a_secret_of_its_own_is_not_empty(place: Place, tmp_path: Path, what: str) -> None:
    archive = place.back_up(tmp_path / "b.tar.gz")
    fresh = _place(tmp_path / "other")
    (fresh.settings.home.root / what).write_text("mine")
    with pytest.raises(Conflict, match=what):
        restore(fresh.settings, archive, "test")
    assert (fresh.settings.home.root / what).read_text() == "mine"


def test_a_store_that_replicas_work_on_is_left_alone(tmp_path: Path, postgresql: PostgreSQL) -> None:
    with postgresql.database() as url:
        used = _place(tmp_path / "home", url)
        _fill(used)
        archive = used.back_up(tmp_path / "b.tar.gz")
        with pytest.raises(Conflict, match="replicas are at work"):
            restore(used.settings, archive, "test", overwrite=True)
        used.store.close()


def test_a_damaged_archive_changes_nothing(place: Place, tmp_path: Path) -> None:
    archive = place.back_up(tmp_path / "b.tar.gz")
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    rows, files = place.rows(), place.files()
    with pytest.raises(BackupDamaged):
        restore(place.settings, archive, "test", overwrite=True)
    assert (place.rows(), place.files()) == (rows, files)


def test_a_damaged_sqlite_file_can_be_replaced(tmp_path: Path) -> None:
    made = _place(tmp_path / "home")
    _fill(made)
    archive = made.back_up(tmp_path / "b.tar.gz")
    rows = made.rows()["corrections"]
    made.store.close()
    made.settings.home.store.write_bytes(b"no database at all" * 1_000)
    with pytest.raises(StoreUnavailable):
        restore(made.settings, archive, "test")
    restore(made.settings, archive, "test", overwrite=True)
    assert made.rows()["corrections"] == rows
    made.store.close()


def test_what_was_erased_after_the_backup_stays_erased(place: Place, tmp_path: Path) -> None:
    archive = place.back_up(tmp_path / "b.tar.gz")
    erase(place.store, place.settings, ErasureRequest(subject="customer-1017"), "test")
    place.store.forget_replica("replica-1")
    assert {row[0] for row in place.rows()["predictions"]} == {"p0", "p2", "p3", "p4", "p5"}
    place.store.close()
    report = restore(place.settings, archive, "test", overwrite=True)
    assert report.erased_again == 1
    assert {row[0] for row in place.rows()["predictions"]} == {"p0", "p2", "p3", "p4", "p5"}
    assert len(place.rows()["erasures"]) == 2


def test_a_backup_of_an_earlier_release_is_brought_forward(tmp_path: Path) -> None:
    made = _place(tmp_path / "home")
    engine = create_engine(make_url(made.settings.sqlalchemy_url))
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "feedback:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        connection.execute(
            text(
                "INSERT INTO corrections (correction_id, kind, text, text_key, label, created_at) "
                "VALUES ('c_1', 'correction', 'a', 'k', 'x', '2025-01-02 03:04:05.000000')"
            )
        )
    engine.dispose()
    # As that release would have: without bringing the store forward first.
    made.store._prepared.set()
    made.back_up(tmp_path / "old.tar.gz")
    made.store.close()
    fresh = _place(tmp_path / "other")
    assert restore(fresh.settings, tmp_path / "old.tar.gz", "test").manifest.store_schema == "0005"
    (learned,) = fresh.store.training_corrections()
    assert (learned.sequence, learned.text, learned.label) == (1, "a", "x")
    fresh.store.close()


def test_a_backup_of_a_newer_release_is_refused(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = place.back_up(tmp_path / "b.tar.gz")
    monkeypatch.setattr("feedback.restoring.SCHEMA", "0001")
    fresh = _place(tmp_path / "other")
    with pytest.raises(BackupDamaged, match="reads up to 0001"):
        restore(fresh.settings, archive, "test")


def test_a_backup_taken_while_people_correct_holds_a_whole_beginning_of_what_they_said(place: Place, tmp_path: Path) -> None:
    stop = threading.Event()
    said: list[str] = []

    def correct() -> None:
        writer = Store.of(place.settings)
        while not stop.is_set():
            said.append(writer.add_correction(CorrectionRequest(text=f"text {len(said)}", label="negative")).correction_id)
        writer.close()

    thread = threading.Thread(target=correct)
    thread.start()
    try:
        while len(said) < 20:
            threading.Event().wait(0.01)
        before = list(said)
        archive = place.back_up(tmp_path / "b.tar.gz")
        after = list(said)
    finally:
        stop.set()
        thread.join()
    fresh = _place(tmp_path / "other")
    restore(fresh.settings, archive, "test")
    kept = {row[1] for row in fresh.rows()["corrections"]} & set(said)
    # One may have been written whose id was not told yet when the others were counted.
    assert set(before) <= kept <= set(said[: len(after) + 1])
    assert kept == set(said[: len(kept)])
    fresh.store.close()
