"""Contract of many corrections at a time, of taking back and of changing, over every database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.correction_bodies import ChangeRequest, WithdrawalRequest
from core.errors import Conflict, HoneError, IdempotencyConflict, NotFound, UnknownPrediction
from core.schemas import CorrectionRequest
from feedback.bulk import BulkRow, Kept
from feedback.store import Store
from tests.feedback.records import prediction


def _row(text: str, label: str = "positive", key: str | None = None, *, proposes: bool = False) -> BulkRow:
    return BulkRow(CorrectionRequest(text=text, label=label), key, proposes)


def _kinds(outcomes: list[Kept | HoneError]) -> list[object]:
    return [outcome.repeated if isinstance(outcome, Kept) else type(outcome) for outcome in outcomes]


def test_each_row_is_kept_or_refused_by_itself(store: Store) -> None:
    store.log_predictions([prediction(1)])
    store.add_correction(CorrectionRequest(text="earlier", label="positive"), idempotency_key="k0")
    rows = [
        _row("a"),
        BulkRow(CorrectionRequest(prediction_id="p1", label="positive")),
        BulkRow(CorrectionRequest(prediction_id="nowhere", label="positive")),
        _row("b", key="k1"),
        _row("b", key="k1"),
        _row("other", key="k1"),
        _row("earlier", key="k0"),
    ]
    outcomes = store.add_corrections(rows)
    assert _kinds(outcomes) == [False, False, UnknownPrediction, False, True, IdempotencyConflict, True]
    assert [outcome.answer.kind for outcome in outcomes[:2] if isinstance(outcome, Kept)] == ["correction", "confirmation"]
    assert _kinds(store.add_corrections(rows[3:4])) == [True]
    assert store.correction_count(kind=None) == 4
    listed = {answer.correction_id for answer in store.corrections().corrections}
    assert listed == {outcome.answer.correction_id for outcome in outcomes if isinstance(outcome, Kept)}


def test_a_key_means_the_same_one_by_one_and_in_bulk(store: Store) -> None:
    (kept,) = store.add_corrections([_row("a", key="k")])
    assert isinstance(kept, Kept)
    assert store.add_correction(CorrectionRequest(text="a", label="positive"), idempotency_key="k") == kept.answer
    with pytest.raises(IdempotencyConflict):
        store.add_correction(CorrectionRequest(text="a", label="negative"), idempotency_key="k")


def test_fifty_clients_with_the_same_keys_make_one_row_each(store: Store) -> None:
    rows = [_row(f"text {number}", key=f"key {number}") for number in range(20)]

    def send(client: int) -> list[str]:
        if client % 2:
            return [
                store.add_correction(row.request, idempotency_key=row.key).correction_id for row in (rows[client % 20], rows[0])
            ]
        shifted = rows[client % 20 :] + rows[: client % 20]
        return [outcome.answer.correction_id for outcome in store.add_corrections(shifted) if isinstance(outcome, Kept)]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(send, range(50)))
    assert {len(ids) for ids in answers} == {2, 20}
    assert len({correction_id for ids in answers for correction_id in ids}) == 20
    assert store.correction_count() == 20
    assert [word.text for word in store.training_corrections()].count("text 7") == 1


def test_a_correction_is_withdrawn_once_with_who_and_why(store: Store) -> None:
    first = store.add_correction(CorrectionRequest(text="a", label="x"))
    store.add_correction(CorrectionRequest(text="b", label="x"))
    taken = store.withdraw_correction(first.correction_id, WithdrawalRequest(annotator="ann", why="a slip"))
    assert taken.withdrawn
    assert store.withdraw_correction(first.correction_id, WithdrawalRequest()) == taken
    assert [word.text for word in store.training_corrections()] == ["b"]
    with pytest.raises(NotFound):
        store.withdraw_correction("c_nowhere", WithdrawalRequest())


def test_a_change_stands_in_the_place_of_what_it_changes(store: Store) -> None:
    store.log_predictions([prediction(1)])
    request = CorrectionRequest(prediction_id="p1", label="negative", annotator="ann")
    first = store.add_correction(request)
    second = store.change_correction(first.correction_id, ChangeRequest(label="positive"), idempotency_key="k")
    assert (second.kind, second.prediction_id, second.annotator) == ("confirmation", "p1", "ann")
    assert (second.replaces, second.withdrawn) == (first.correction_id, False)
    old = store.correction(first.correction_id)
    assert (old.withdrawn, old.replaced_by) == (True, second.correction_id)
    assert store.correction(second.correction_id).replaces == first.correction_id
    assert [word.label for word in store.training_corrections()] == ["positive"]
    again = store.change_correction(first.correction_id, ChangeRequest(label="positive"), idempotency_key="k")
    assert again == second
    with pytest.raises(IdempotencyConflict):
        store.change_correction(first.correction_id, ChangeRequest(label="neutral"), idempotency_key="k")
    with pytest.raises(Conflict):
        store.change_correction(first.correction_id, ChangeRequest(label="neutral"))
    with pytest.raises(NotFound):
        store.change_correction("c_nowhere", ChangeRequest(label="neutral"))
    assert store.correction_count(kind=None) == 2


def test_of_many_changes_at_once_one_counts(store: Store) -> None:
    first = store.add_correction(CorrectionRequest(text="a", label="x"))

    def change(number: int) -> bool:
        try:
            store.change_correction(first.correction_id, ChangeRequest(label=f"label {number}"))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(change, range(20))) == 1
    assert store.correction_count() == 2
    assert len(store.training_corrections()) == 1
