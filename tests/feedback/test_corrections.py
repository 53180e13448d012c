"""Contract of predictions and corrections, over every database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest

from core.errors import IdempotencyConflict, InputError, NotFound, UnknownPrediction
from core.schemas import CorrectionRequest, now
from core.text import text_key
from feedback.corrections import Outcomes
from feedback.runs import RunEnd
from feedback.store import Store
from tests.feedback.records import prediction


def test_withdrawn_corrections_are_listed_and_count_no_longer(store: Store) -> None:
    def said(text: str, label: str, key: str) -> str:
        return store.add_correction(CorrectionRequest(text=text, label=label), idempotency_key=key).correction_id

    first = said("a", "x", "tool_1:1")
    second, third = said("a", "y", "tool_1:2"), said("b", "y", "toolX1:3")
    said("c", "z", "TOOL_1:4")
    assert store.withdraw_corrections("tool_1:2") == [second]
    assert [(word.text, word.label) for word in store.training_corrections()] == [("a", "x"), ("b", "y"), ("c", "z")]
    assert sorted(store.withdraw_corrections("tool_1:")) == sorted([first, second])
    assert store.withdraw_corrections("nothing:") == []
    assert [word.text for word in store.training_corrections()] == ["b", "c"]
    assert store.correction(first).withdrawn
    assert not store.correction(third).withdrawn
    assert said("a", "x", "tool_1:1") == first
    assert len(store.corrections().corrections) == 4


def test_a_prediction_comes_back_as_it_went_in(store: Store) -> None:
    record = prediction(text="这是 a “test”\n😀")
    store.log_predictions([record])
    found = store.prediction("p0")
    assert found == record
    assert found.created_at.tzinfo is UTC


def test_times_of_other_zones_come_back_in_utc(store: Store) -> None:
    local = datetime(2025, 6, 1, 12, 0, tzinfo=timezone(timedelta(hours=8)))
    store.log_predictions([prediction(created_at=local)])
    found = store.prediction("p0").created_at
    assert found == local
    assert found.utcoffset() == timedelta(0)


def test_logging_a_prediction_again_changes_nothing(store: Store) -> None:
    store.log_predictions([prediction(1), prediction(2)])
    store.log_predictions([prediction(1, label="negative"), prediction(3)])
    assert store.prediction("p1").label == "positive"
    assert store.prediction("p3").label == "positive"


def test_one_bad_prediction_leaves_nothing_of_its_batch(store: Store) -> None:
    with pytest.raises(InputError) as caught:
        store.log_predictions([prediction(1), prediction(2, text="half \ud800 of a pair")])
    assert "half" not in str(caught.value.__cause__)
    with pytest.raises(UnknownPrediction):
        store.prediction("p1")


def test_an_unknown_prediction_is_refused(store: Store) -> None:
    with pytest.raises(UnknownPrediction):
        store.prediction("nowhere")
    with pytest.raises(UnknownPrediction):
        store.add_correction(CorrectionRequest(prediction_id="nowhere", label="positive"), idempotency_key="k")
    assert store.last_sequence() == 0
    # The refusal was not kept as the key's answer.
    assert store.add_correction(CorrectionRequest(text="a", label="positive"), idempotency_key="k").kind == "correction"


def test_a_correction_takes_text_and_version_from_its_prediction(store: Store) -> None:
    store.log_predictions([prediction(4, version="v7")])
    before = now()
    answer = store.add_correction(
        CorrectionRequest(prediction_id="p4", label="negative", annotator="ann", confidence=0.5, metadata={"why": ["x"]})
    )
    assert (answer.kind, answer.predicted_label, answer.model_version) == ("correction", "positive", "v7")
    assert (answer.annotator, answer.confidence, answer.used_by) == ("ann", 0.5, [])
    assert before <= answer.created_at <= now()
    assert store.correction(answer.correction_id) == answer
    (taken,) = store.training_corrections()
    assert (taken.text, taken.text_key, taken.label) == ("text number 4", text_key("text number 4"), "negative")


def test_naming_a_prediction_that_had_the_label_confirms_it(store: Store) -> None:
    store.log_predictions([prediction(1)])
    assert store.add_correction(CorrectionRequest(prediction_id="p1", label="positive")).kind == "confirmation"
    assert store.add_correction(CorrectionRequest(text="text number 1", label="positive")).kind == "correction"


def test_neither_text_nor_prediction_is_refused(store: Store) -> None:
    with pytest.raises(InputError):
        store.add_correction(CorrectionRequest(label="positive"))


@pytest.mark.parametrize("field", ["text", "annotator"])
def test_a_character_no_database_keeps_is_refused_and_not_quoted(store: Store, field: str) -> None:
    body = {"text": "fine", "label": "positive", field: "secret \udc00"}
    with pytest.raises(InputError) as caught:
        store.add_correction(
            CorrectionRequest.model_construct(**{**CorrectionRequest(text="x", label="y").model_dump(), **body})
        )
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert store.last_sequence() == 0


def test_one_key_and_one_body_count_once(store: Store) -> None:
    store.log_predictions([prediction(1)])
    request = CorrectionRequest(prediction_id="p1", label="negative", metadata={"a": 1, "b": 2})
    same = CorrectionRequest(prediction_id="p1", label="negative", metadata={"b": 2, "a": 1})
    first = store.add_correction(request, idempotency_key="key")
    assert store.add_correction(same, idempotency_key="key") == first
    assert len(store.corrections().corrections) == 1


def test_one_key_and_another_body_conflict(store: Store) -> None:
    store.add_correction(CorrectionRequest(text="a", label="positive"), idempotency_key="key")
    with pytest.raises(IdempotencyConflict):
        store.add_correction(CorrectionRequest(text="a", label="negative"), idempotency_key="key")
    assert store.last_sequence() == 1


def test_without_a_key_each_counts(store: Store) -> None:
    request = CorrectionRequest(text="a", label="positive")
    first, second = store.add_correction(request), store.add_correction(request)
    assert first.correction_id != second.correction_id
    assert store.correction_count() == 2


def test_fifty_threads_with_one_key_make_one_row(store: Store) -> None:
    requests = [CorrectionRequest(text=f"text {number}", label="positive") for number in range(5)]
    jobs = [(requests[number % 5], f"key {number % 5}") for number in range(50)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda job: store.add_correction(job[0], idempotency_key=job[1]), jobs))
    assert len({answer.correction_id for answer in answers}) == 5
    listed = store.corrections().corrections
    assert {answer.correction_id for answer in listed} == {answer.correction_id for answer in answers}
    assert len(listed) == 5


def test_pages_run_from_newest_to_oldest(store: Store) -> None:
    made = [store.add_correction(CorrectionRequest(text=f"t{number}", label="x")).correction_id for number in range(5)]
    first = store.corrections(limit=2)
    second = store.corrections(limit=2, before=first.next_before)
    third = store.corrections(limit=2, before=second.next_before)
    found = [answer.correction_id for page in (first, second, third) for answer in page.corrections]
    assert found == made[::-1]
    assert third.next_before is None
    assert store.corrections(limit=5).next_before is None


def test_an_unknown_correction_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        store.correction("c_none")
    with pytest.raises(NotFound):
        store.corrections(before="c_none")


def test_counts_and_the_last_word_follow_the_sequence(store: Store) -> None:
    store.log_predictions([prediction(1), prediction(2)])
    store.add_correction(CorrectionRequest(prediction_id="p1", label="negative"))
    store.add_correction(CorrectionRequest(prediction_id="p2", label="negative"))
    middle = store.last_sequence()
    store.add_correction(CorrectionRequest(prediction_id="p1", label="positive"))
    store.add_correction(CorrectionRequest(text="  TEXT number 2 ", label="neutral"))
    assert store.correction_count(middle) == 1
    assert store.correction_count(middle, kind="confirmation") == 1
    assert store.correction_count(middle, kind=None) == 2
    assert store.correction_count() == 3
    latest = [(word.label, word.kind) for word in store.training_corrections()]
    assert latest == [("positive", "confirmation"), ("neutral", "correction")]
    assert [word.label for word in store.training_corrections(middle)] == ["negative", "negative"]
    assert store.training_corrections(0) == []


def test_live_accuracy_counts_each_prediction_once_by_the_last_word(store: Store) -> None:
    store.log_predictions([prediction(1), prediction(2), prediction(3, version="v2"), prediction(4, version="v3")])
    for prediction_id, label in [("p1", "negative"), ("p1", "positive"), ("p2", "negative"), ("p3", "positive")]:
        store.add_correction(CorrectionRequest(prediction_id=prediction_id, label=label))
    store.add_correction(CorrectionRequest(text="named no prediction", label="negative"))
    assert store.label_outcomes() == {"v1": Outcomes(right=1, wrong=1), "v2": Outcomes(right=1, wrong=0)}


def test_a_correction_names_the_versions_that_learned_from_it(store: Store) -> None:
    first = store.add_correction(CorrectionRequest(text="a", label="x"))
    second = store.add_correction(CorrectionRequest(text="b", label="x"))
    for version, state, learned_from in [("v2", "succeeded", [1]), ("v9", "failed", [1, 2]), ("v3", "succeeded", [1, 2])]:
        store.create_run("head")
        run = store.claim_run("holder")
        assert run is not None
        store.finish_run(run.run_id, RunEnd(state, version=version, learned_from=learned_from))  # type: ignore[arg-type]
    assert store.correction(first.correction_id).used_by == ["v2", "v3"]
    assert store.correction(second.correction_id).used_by == ["v3"]
    assert [answer.used_by for answer in store.corrections().corrections] == [["v3"], ["v2", "v3"]]
