"""Predictions reach the store, or the spool, or a counter."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from core.errors import InputError, StoreUnavailable
from core.schemas import PredictionRecord
from feedback.delivery import LogEvent
from feedback.prediction_log import PredictionLog
from feedback.spool import Spool, SpoolExtent
from feedback.store import Store
from tests.feedback.records import prediction

_ROOT = Path(__file__).parents[2]
_WAIT_S = 30.0


class FakeStore:
    """A store that can be away, hang, or refuse single predictions."""

    def __init__(self) -> None:
        self.kept: Counter[str] = Counter()
        self.largest_batch = 0
        self.away = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.changed = threading.Condition()

    def log_predictions(self, records: Sequence[PredictionRecord]) -> None:
        self.may_answer.wait(_WAIT_S)
        self.ping()
        if any("refuse" in record.text for record in records):
            raise InputError("a value cannot be kept")
        with self.changed:
            self.kept.update(record.prediction_id for record in records)
            self.largest_batch = max(self.largest_batch, len(records))
            self.changed.notify_all()

    def ping(self) -> None:
        if self.away.is_set():
            raise StoreUnavailable("the store is away")

    def wait_for(self, rows: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.kept) >= rows, _WAIT_S)


@pytest.fixture
def sink() -> FakeStore:
    return FakeStore()


@pytest.fixture
def log(sink: FakeStore, tmp_path: Path) -> Iterator[PredictionLog]:
    opened = PredictionLog(sink, tmp_path / "spool", queue_rows=5_000)
    yield opened
    sink.may_answer.set()
    opened.close()


def _spooled_rows(folder: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in folder.glob("*.jsonl"))


def test_what_is_put_is_written_in_batches(sink: FakeStore, log: PredictionLog) -> None:
    for start in range(0, 3_000, 10):
        log.put([prediction(number) for number in range(start, start + 10)])
    assert log.flush(_WAIT_S)
    assert (log.written, log.spooled, log.dropped) == (3_000, 0, 0)
    assert len(sink.kept) == 3_000
    assert sink.largest_batch <= 1_000


def test_the_real_store_takes_them(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'feedback.db'}")
    log = PredictionLog(store, tmp_path / "spool")
    log.put([prediction(1)])
    assert log.flush(_WAIT_S)
    assert store.prediction("p1") == prediction(1)
    log.close()
    store.close()


def test_putting_never_waits_and_what_does_not_fit_is_counted(sink: FakeStore, log: PredictionLog) -> None:
    sink.may_answer.clear()
    log.put([prediction(number) for number in range(20_000)])
    assert log.dropped >= 20_000 - 5_000 - 1_000
    assert not log.flush(0.01)
    sink.may_answer.set()
    assert log.flush(_WAIT_S)
    assert log.written + log.dropped == 20_000
    assert len(sink.kept) == log.written


def test_nothing_is_lost_while_the_store_is_away(sink: FakeStore, log: PredictionLog, tmp_path: Path) -> None:
    sink.away.set()
    log.put([prediction(number) for number in range(1_500)])
    assert log.flush(_WAIT_S)
    assert (log.written, log.spooled, log.dropped) == (0, 1_500, 0)
    assert _spooled_rows(tmp_path / "spool") == 1_500
    sink.away.clear()
    log.put([prediction(number) for number in range(1_500, 1_600)])
    assert sink.wait_for(1_600)
    log.close()
    assert set(sink.kept) == {f"p{number}" for number in range(1_600)}
    assert log.written == 1_600
    assert log.dropped == 0
    assert _spooled_rows(tmp_path / "spool") == 0


def test_the_spool_is_bounded_and_the_rest_is_counted(sink: FakeStore, tmp_path: Path) -> None:
    events: Counter[LogEvent] = Counter()

    def count(kind: LogEvent, rows: int) -> None:
        events[kind] += rows

    sink.away.set()
    row_bytes = len(prediction(0).model_dump_json()) + 1
    log = PredictionLog(sink, tmp_path / "spool", spool_max_bytes=3 * row_bytes, on_event=count)
    log.put([prediction(number) for number in range(5)])
    assert log.flush(_WAIT_S)
    log.put([prediction(5)])
    log.close()
    assert events == {"spooled": 3, "dropped": 3}
    assert (log.spooled, log.dropped) == (3, 3)
    assert Spool(tmp_path / "spool", 0).size_bytes() <= 3 * row_bytes


def test_a_prediction_the_store_refuses_does_not_take_others_with_it(sink: FakeStore, log: PredictionLog) -> None:
    log.put([prediction(number, text="refuse" if number == 3 else "fine") for number in range(7)])
    assert log.flush(_WAIT_S)
    assert set(sink.kept) == {f"p{number}" for number in range(7) if number != 3}
    assert (log.written, log.dropped) == (6, 1)


def test_closing_drains_and_later_predictions_are_counted(sink: FakeStore, log: PredictionLog) -> None:
    log.put([prediction(number) for number in range(2_500)])
    log.close()
    assert len(sink.kept) == 2_500
    log.put([prediction(1)])
    assert log.dropped == 1


def test_closing_spools_what_a_hanging_store_holds_up(sink: FakeStore, log: PredictionLog, tmp_path: Path) -> None:
    sink.may_answer.clear()
    log.put([prediction(number) for number in range(2_500)])
    log.close(timeout_s=0.1)
    assert log.spooled == 2_500
    assert _spooled_rows(tmp_path / "spool") == 2_500


def test_an_unwritable_spool_is_counted_not_raised(sink: FakeStore, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")
    sink.away.set()
    log = PredictionLog(sink, tmp_path / "spool")
    log.put([prediction(1), prediction(2)])
    assert log.flush(_WAIT_S)
    assert log.dropped == 2
    log.close()


def test_an_unforeseen_error_is_counted_and_the_thread_lives_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(FakeStore):
        def log_predictions(self, records: Sequence[PredictionRecord]) -> None:
            if records[0].prediction_id == "p1":
                raise RuntimeError(records[0].text)
            super().log_predictions(records)

    sink = Faulty()
    log = PredictionLog(sink, tmp_path / "spool")
    log.put([prediction(1, text="my secret")])
    assert log.flush(_WAIT_S)
    log.put([prediction(2)])
    log.close()
    assert (log.written, log.dropped) == (1, 1)
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


_SPOOL_AND_DIE = """
import os, signal, sys
from pathlib import Path
from feedback.spool import Spool
from tests.feedback.records import prediction
spool = Spool(Path(sys.argv[1]), 10**9)
spool.append([prediction(number) for number in range(1_200)])
spool._file.write(prediction(9_999).model_dump_json().encode()[:40])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_spooled_is_taken_over(sink: FakeStore, tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", _SPOOL_AND_DIE, str(tmp_path / "spool")], cwd=_ROOT, check=False)
    assert died.returncode == -9
    log = PredictionLog(sink, tmp_path / "spool")
    assert sink.wait_for(1_200)
    log.close()
    assert log.written == 1_200
    # The line it was killed in.
    assert log.dropped == 1
    assert list((tmp_path / "spool").glob("*.jsonl")) == []


def test_a_living_process_keeps_its_own_file(tmp_path: Path) -> None:
    mine, other = Spool(tmp_path, 10**6), Spool(tmp_path, 10**6)
    assert mine.append([prediction(1)]) == 1
    (path,) = other.waiting()
    with other.taken_over(path) as file:
        assert file is None
    mine.release()
    with other.taken_over(path) as file:
        assert file is not None
        assert len(file.readlines()) == 1
        with mine.taken_over(path) as second:
            assert second is None
        path.unlink()
    with other.taken_over(path) as file:
        assert file is None


def test_what_waits_is_told_by_size_rows_and_the_age_of_the_oldest(tmp_path: Path) -> None:
    assert Spool(tmp_path, 10**6).extent() == SpoolExtent(0, 0, None)
    mine, other = Spool(tmp_path, 10**6), Spool(tmp_path, 10**6)
    first, second, third = prediction(1), prediction(2), prediction(3)
    other.append([second])
    mine.append([first, third])
    extent = mine.extent()
    assert extent == SpoolExtent(mine.size_bytes(), 3, min(first.created_at, second.created_at))
