"""What comes while others are served is served together, and each caller gets its own outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from sqlalchemy import event

from core.errors import IdempotencyConflict, StoreUnavailable, UnknownPrediction
from core.schemas import CorrectionRequest
from feedback.merging import Merging
from feedback.store import Store

_WAIT_S = 30.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Give threads enough for all callers of a test."""
    with ThreadPoolExecutor(64) as threads:
        yield threads


class Gate:
    """Serves numbers, and holds the first group up until it is opened and ``waiting`` others have come."""

    def __init__(self, waiting: int = 0) -> None:
        self.groups: list[list[int]] = []
        self.opened = threading.Event()
        self._waiting = waiting
        self.merging: Merging[int, int] = Merging(self.serve, _WAIT_S)

    def serve(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.groups.append(list(items))
        if len(self.groups) == 1:
            self.opened.wait(_WAIT_S)
            while len(self.merging._waiting) < self._waiting:
                threading.Event().wait(0.001)
        if 13 in items and len(items) > 1:
            raise ValueError("one of these cannot be served with others")
        if 99 in items:
            raise StoreUnavailable("the store is away")
        return [KeyError(item) if item == 7 else 10 * item for item in items]


def _put(pool: ThreadPoolExecutor, gate: Gate, items: Sequence[int]) -> list[Future[int]]:
    first = pool.submit(gate.merging.put, 0)
    while not gate.groups:
        threading.Event().wait(0.001)
    others = [pool.submit(gate.merging.put, item) for item in items]
    gate.opened.set()
    return [first, *others]


def test_whoever_comes_meanwhile_is_served_in_one_group(pool: ThreadPoolExecutor) -> None:
    gate = Gate(waiting=20)
    outcomes = _put(pool, gate, range(20, 40))
    assert [outcome.result(_WAIT_S) for outcome in outcomes] == [0, *range(200, 400, 10)]
    assert [sorted(group) for group in gate.groups] == [[0], list(range(20, 40))]


def test_an_outcome_that_is_an_exception_is_its_callers_alone(pool: ThreadPoolExecutor) -> None:
    first, bad, good = _put(pool, Gate(waiting=2), [7, 8])
    assert (first.result(_WAIT_S), good.result(_WAIT_S)) == (0, 80)
    with pytest.raises(KeyError):
        bad.result(_WAIT_S)


def test_a_group_that_fails_is_served_one_at_a_time(pool: ThreadPoolExecutor) -> None:
    gate = Gate(waiting=3)
    assert [outcome.result(_WAIT_S) for outcome in _put(pool, gate, [12, 13, 14])] == [0, 120, 130, 140]
    assert len(gate.groups) == 5


def test_a_store_that_is_away_fails_all_of_a_group_alike(pool: ThreadPoolExecutor) -> None:
    gate = Gate(waiting=2)
    first, *others = _put(pool, gate, [98, 99])
    assert first.result(_WAIT_S) == 0
    errors = [outcome.exception(_WAIT_S) for outcome in others]
    assert all(isinstance(error, StoreUnavailable) for error in errors)
    assert errors[0] is not errors[1]
    assert gate.merging.put(5) == 50


def test_whoever_waits_too_long_is_told_and_was_not_served(pool: ThreadPoolExecutor) -> None:
    gate = Gate()
    gate.merging._busy_timeout_s = 0.02
    first, other = _put_late(pool, gate)
    with pytest.raises(StoreUnavailable, match="nothing was written"):
        other.result(_WAIT_S)
    gate.opened.set()
    assert first.result(_WAIT_S) == 0
    assert gate.merging.put(2) == 20
    assert gate.groups == [[0], [2]]


def _put_late(pool: ThreadPoolExecutor, gate: Gate) -> tuple[Future[int], Future[int]]:
    first = pool.submit(gate.merging.put, 0)
    while not gate.groups:
        threading.Event().wait(0.001)
    return first, pool.submit(gate.merging.put, 1)


def test_fifty_clients_with_the_same_keys_make_one_row_each(store: Store, pool: ThreadPoolExecutor) -> None:
    commits: list[object] = []
    event.listen(store._engine, "commit", commits.append)

    def send(number: int) -> str:
        key = f"k{number % 10}"
        return store.add_correction(CorrectionRequest(text=key, label="x"), idempotency_key=key).correction_id

    ids = list(pool.map(send, range(500)))
    assert len(set(ids)) == 10
    assert store.correction_count() == 10
    # Shared: each by itself would have been a commit.
    assert len(commits) < 500


def test_one_that_is_refused_takes_no_other_with_it(store: Store, pool: ThreadPoolExecutor) -> None:
    store.add_correction(CorrectionRequest(text="a", label="x"), idempotency_key="taken")

    def send(number: int) -> type[Exception] | None:
        refused: dict[int, Callable[[], object]] = {
            0: lambda: store.add_correction(CorrectionRequest(text="b", label="x"), idempotency_key="taken"),
            1: lambda: store.add_correction(CorrectionRequest(prediction_id="none", label="x")),
        }
        try:
            refused.get(number % 10, lambda: store.add_correction(CorrectionRequest(text=f"t{number}", label="x")))()
        except (IdempotencyConflict, UnknownPrediction) as error:
            return type(error)
        return None

    outcomes = list(pool.map(send, range(100)))
    assert outcomes == [{0: IdempotencyConflict, 1: UnknownPrediction}.get(number % 10) for number in range(100)]
    assert store.correction_count() == 1 + 80
