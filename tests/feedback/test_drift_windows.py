"""Windows of the prediction log: complete, each prediction once, and alarms that are raised once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core.drift_bodies import AcknowledgeRequest, DriftFinding, DriftState
from core.errors import Conflict, NotFound
from core.schemas import now
from feedback.drift_windows import LATE, Found, Window
from feedback.erasures import Target
from feedback.store import Store
from tests.feedback.records import prediction


def _log(store: Store, numbers: range, **changes: Any) -> None:
    start = now() - LATE - timedelta(hours=1)
    store.log_predictions([prediction(n, created_at=start + timedelta(seconds=n), **changes) for n in numbers])


def _found(window: Window, verdict: DriftState = "quiet", size: float = 0.3) -> Found:
    finding = DriftFinding(detector="label_psi", watches="outputs", verdict=verdict, size=size, p_value=0.001, limit=0.01)
    return Found("v1", window, len(window.records), verdict, "so", (finding,), None, {})


def _next(store: Store, size: int = 10) -> Window:
    window = store.next_window("v1", size)
    assert window is not None
    return window


def test_a_window_waits_until_it_is_complete_and_takes_each_prediction_once(store: Store) -> None:
    _log(store, range(9))
    assert store.next_window("v1", 10) is None
    assert store.waiting_rows("v1") == 9
    _log(store, range(9, 12))
    first = _next(store)
    assert (len(first.records), first.seen) == (10, 12)
    assert [first.records[0].prediction_id, first.records[-1].prediction_id] == ["p0", "p11"]
    assert store.add_drift_window(_found(first)) is None
    assert store.next_window("v1", 10) is None
    _log(store, range(12, 22))
    assert [record.prediction_id for record in _next(store).records] == [f"p{n}" for n in range(12, 22)]


def test_what_is_new_another_versions_or_a_memorys_is_not_looked_at(store: Store) -> None:
    store.log_predictions([prediction(n, created_at=now()) for n in range(10)])
    _log(store, range(10, 20), version="v2")
    _log(store, range(20, 30), source="memory")
    assert store.waiting_rows("v1") == 0


def test_drift_raises_one_alarm_until_somebody_takes_note(store: Store) -> None:
    _log(store, range(10))
    alarm = store.add_drift_window(_found(_next(store), "drift", 0.3))
    assert alarm is not None
    assert store.open_drift_alarm() == alarm
    _log(store, range(10, 20))
    assert store.add_drift_window(_found(_next(store), "drift", 0.5)) is None
    assert [item.detectors for item in store.drift_alarms()] == [{"label_psi": 0.5}]
    assert store.known_drift() == {}
    decided = store.acknowledge_drift_alarm(alarm.alarm_id, AcknowledgeRequest(by="ada", why="a holiday"))
    assert (decided.state, decided.decided_by, decided.decided_why) == ("acknowledged", "ada", "a holiday")
    assert store.open_drift_alarm() is None
    assert store.known_drift() == {"label_psi": 0.5}
    with pytest.raises(Conflict):
        store.handle_drift_alarm(alarm.alarm_id, "r_1")
    with pytest.raises(NotFound):
        store.handle_drift_alarm("d_nowhere", "r_1")


def test_a_run_that_was_started_because_of_it_is_named(store: Store) -> None:
    _log(store, range(10))
    alarm = store.add_drift_window(_found(_next(store), "drift"))
    assert alarm is not None
    handled = store.handle_drift_alarm(alarm.alarm_id, "r_1")
    assert (handled.state, handled.run_id) == ("handled", "r_1")
    assert store.open_drift_alarm() is None


def test_what_was_erased_since_is_not_in_the_window_any_more(store: Store) -> None:
    _log(store, range(10))
    store.add_drift_window(_found(_next(store)))
    window, records = store.window_records(store.drift_windows()[0].window_id)
    assert (window.rows, len(records)) == (10, 10)
    store.erase(Target(text_keys=(records[3].text_key,)), "test")
    _, left = store.window_records(window.window_id)
    assert {record.prediction_id for record in records} - {record.prediction_id for record in left} == {"p3"}
    with pytest.raises(NotFound):
        store.window_records("w_nowhere")
