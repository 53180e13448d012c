"""What goes wrong beneath the store: it says so, loses nothing that it acknowledged, and goes on by itself afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, update

from core.errors import StoreUnavailable
from core.schemas import CorrectionRequest, PredictionRecord, now
from feedback.delivery import Delivery, LogEvent
from feedback.replicas import ReplicaReport
from feedback.spool import Spool
from feedback.store import Store
from feedback.tables import leases, replicas
from tests.disks import Disk
from tests.feedback.records import prediction
from tests.postgresql import PostgreSQL

_FILLS_UP = 400


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Give a disk of two megabytes."""
    mounted = Disk(tmp_path / "disk", "2m")
    yield mounted
    mounted.unmount()


def _request(number: int) -> CorrectionRequest:
    return CorrectionRequest(text=f"{number} " + "long " * 2_000, label="x")


def _write_until_refused(store: Store) -> tuple[list[str], StoreUnavailable]:
    acknowledged: list[str] = []
    for number in range(_FILLS_UP):
        try:
            acknowledged.append(store.add_correction(_request(number), idempotency_key=f"k{number}").correction_id)
        except StoreUnavailable as error:
            return acknowledged, error
    raise AssertionError("nothing was refused")


def _ids(store: Store) -> list[str]:
    return [answer.correction_id for answer in reversed(store.corrections(1_000).corrections)]


def test_a_full_disk_is_said_and_got_over(disk: Disk) -> None:
    store = Store.open(f"sqlite:///{disk.folder / 'feedback.db'}")
    acknowledged, error = _write_until_refused(store)
    assert "FULL" in str(error.details["reason"]) or "IOERR" in str(error.details["reason"])
    # Not a byte is left: what was acknowledged is there all the same, and can be read.
    disk.fill()
    assert _ids(store) == acknowledged
    store.close()


def test_a_disk_that_has_room_again_is_written_again(disk: Disk) -> None:
    store = Store.open(f"sqlite:///{disk.folder / 'feedback.db'}")
    first = store.add_correction(_request(1), idempotency_key="first")
    disk.fill()
    acknowledged, _ = _write_until_refused(store)
    disk.make_room()
    again = store.add_correction(_request(0), idempotency_key="k0")
    assert again.correction_id in acknowledged or not acknowledged
    assert store.add_correction(_request(1), idempotency_key="first") == first
    assert _ids(store) == [first.correction_id, *(acknowledged or [again.correction_id])]
    store.close()


def test_a_database_that_may_not_grow_is_said_and_got_over(tmp_path: Path) -> None:
    """As a full disk, on machines where none can be made."""
    store = Store.open(f"sqlite:///{tmp_path / 'feedback.db'}")
    pages = {"most": 60}

    @event.listens_for(store._engine, "begin")
    def limit(connection: object) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages['most']}")  # type: ignore[attr-defined]

    acknowledged, error = _write_until_refused(store)
    assert error.details["reason"] == "SQLITE_FULL"
    assert _ids(store) == acknowledged
    pages["most"] = 10_000
    again = store.add_correction(_request(len(acknowledged)), idempotency_key=f"k{len(acknowledged)}")
    assert _ids(store) == [*acknowledged, again.correction_id]
    store.close()


def test_a_read_only_folder_is_said_and_got_over(disk: Disk) -> None:
    store = Store.open(f"sqlite:///{disk.folder / 'feedback.db'}")
    acknowledged = [store.add_correction(_request(1)).correction_id]
    store.close()
    with disk.read_only():
        with pytest.raises(StoreUnavailable, match="try again"):
            store.add_correction(_request(2))
        fresh = Store(f"sqlite:///{disk.folder / 'feedback.db'}")
        with pytest.raises(StoreUnavailable):
            fresh.add_correction(_request(2))
    # Neither keeps the connection that it opened while nothing could be written.
    acknowledged += [each.add_correction(_request(2)).correction_id for each in (store, fresh)]
    assert _ids(store) == acknowledged
    store.close()
    fresh.close()


def test_a_server_that_was_killed_has_all_it_acknowledged(postgresql: PostgreSQL) -> None:
    with postgresql.database() as url:
        store = Store.open(url)
        acknowledged: list[str] = []
        away = threading.Event()

        def write(mark: int) -> None:
            for number in range(10_000):
                try:
                    key = f"{mark}-{number}"
                    acknowledged.append(
                        store.add_correction(CorrectionRequest(text=key, label="x"), idempotency_key=key).correction_id
                    )
                except StoreUnavailable:
                    away.set()
                    return

        writers = [threading.Thread(target=write, args=(mark,)) for mark in range(4)]
        for writer in writers:
            writer.start()
        while len(acknowledged) < 50:
            away.wait(0.01)
        postgresql.kill()
        for writer in writers:
            writer.join()
        assert away.is_set()
        with pytest.raises(StoreUnavailable):
            store.ping()
        postgresql.start()
        kept = {answer.correction_id for answer in store.corrections(1_000).corrections}
        assert set(acknowledged) <= kept
        # Up to one of each writer was kept and not answered.
        assert len(kept) <= len(acknowledged) + 4
        store.close()


def test_a_server_that_restarts_is_found_again(postgresql: PostgreSQL) -> None:
    with postgresql.database() as url:
        store = Store.open(url)
        store.log_predictions([prediction(1)])
        postgresql.stop()
        with pytest.raises(StoreUnavailable):
            store.prediction("p1")
        postgresql.start()
        assert store.prediction("p1") == prediction(1)
        store.close()


def test_whoever_stops_in_the_middle_of_a_write_does_not_stop_the_others(postgresql: PostgreSQL) -> None:
    with postgresql.database() as url:
        store, other = Store.open(url, busy_timeout_s=0.2), Store.open(url)
        with other._writing_in_order() as connection:
            with pytest.raises(StoreUnavailable) as caught:
                store.add_correction(CorrectionRequest(text="a", label="x"))
            assert caught.value.details["reason"] == "55P03"
            assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "10s"
        store.add_correction(CorrectionRequest(text="a", label="x"))
        store.close()
        other.close()


def test_a_store_that_hangs_counts_as_away_and_what_it_did_late_does_no_harm(store: Store, tmp_path: Path) -> None:
    counted: dict[LogEvent, int] = {}
    hanging, written = threading.Event(), threading.Event()

    class Hanging:
        def log_predictions(self, records: Sequence[PredictionRecord]) -> None:
            hanging.wait(30)
            store.log_predictions(records)
            written.set()

        def ping(self) -> None:
            store.ping()

    def count(kind: LogEvent, rows: int) -> None:
        counted[kind] = counted.get(kind, 0) + rows

    delivery = Delivery(Hanging(), Spool(tmp_path / "spool", 10**6), count, hangs_after_s=0.05)
    delivery.deliver([prediction(1)])
    delivery.deliver([prediction(2)])
    assert counted["spooled"] == 2
    hanging.set()
    assert written.wait(30)
    delivery._retry_at = 0.0
    delivery.replay(lambda: True)
    assert counted["written"] == 2
    assert [store.prediction(f"p{number}").prediction_id for number in (1, 2)] == ["p1", "p2"]


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time of the process's own clock, for the test to turn."""
    time = [100.0]
    monkeypatch.setattr("feedback.leases.monotonic", lambda: time[0])
    return time


def test_a_lease_from_before_the_clock_was_set_back_ends(store: Store, seconds: list[float]) -> None:
    assert store.take_lease("learner", "dead", 30)
    with store._writing() as connection:
        connection.execute(update(leases).values(expires_at=now() + timedelta(hours=1)))
    assert not store.take_lease("learner", "other", 30)
    seconds[0] += 29
    assert not store.take_lease("learner", "other", 30)
    seconds[0] += 1
    assert store.take_lease("learner", "other", 30)
    assert not store.take_lease("learner", "dead", 30)


def test_a_living_holder_keeps_its_lease_when_the_clock_is_set_back(store: Store, seconds: list[float]) -> None:
    assert store.take_lease("learner", "living", 30)
    with store._writing() as connection:
        connection.execute(update(leases).values(expires_at=now() + timedelta(hours=1)))
    assert not store.take_lease("learner", "other", 30)
    seconds[0] += 20
    assert store.take_lease("learner", "living", 30)
    seconds[0] += 20
    assert not store.take_lease("learner", "other", 30)


def test_a_replica_from_before_the_clock_was_set_back_is_not_shown(store: Store) -> None:
    for name in ("dead", "living"):
        store.report_replica(ReplicaReport(name, "v1", "serving"))
    with store._writing() as connection:
        connection.execute(update(replicas).values(seen_at=now() + timedelta(hours=1)))
    store.report_replica(ReplicaReport("living", "v1", "serving"))
    assert [report.replica_id for report in store.replicas()] == ["living"]


def test_the_last_word_is_the_last_said_whatever_the_clock_says(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add_correction(CorrectionRequest(text="a", label="first"))
    monkeypatch.setattr("feedback.correction_rows.now", lambda: now() - timedelta(days=1))
    last = store.add_correction(CorrectionRequest(text="a", label="last"), idempotency_key="k")
    assert [word.label for word in store.training_corrections()] == ["last"]
    assert store.corrections().corrections[0] == last
    assert store.add_correction(CorrectionRequest(text="a", label="last"), idempotency_key="k") == last
