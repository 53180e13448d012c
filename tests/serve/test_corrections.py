"""``/v1/corrections``: durable, idempotent, and patient with predictions that are still on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from core.schemas import CorrectionAnswer, CorrectionsAnswer, PredictionRecord
from feedback.store import Store
from tests.serve.conftest import Service


async def _predict(service: Service, text: str = "so positive") -> str:
    response = await service.post("/v1/predict", {"text": text})
    return str(response.json()["prediction_id"])


async def _stored(service: Service) -> CorrectionsAnswer:
    return await service.parts.store.call(Store.corrections)


async def test_a_prediction_is_corrected_right_after_its_answer(service: Service) -> None:
    prediction_id = await _predict(service)
    body = {"prediction_id": prediction_id, "label": "negative", "annotator": "ann", "confidence": 0.9, "metadata": {"a": 1}}
    response = await service.post("/v1/corrections", body)
    assert response.status_code == 201
    answer = CorrectionAnswer.model_validate_json(response.content)
    assert (answer.kind, answer.label, answer.predicted_label) == ("correction", "negative", "positive")
    assert (answer.prediction_id, answer.model_version, answer.annotator) == (prediction_id, "v1", "ann")
    assert (await _stored(service)).corrections == [answer]


async def test_the_same_label_is_a_confirmation_and_a_text_needs_no_prediction(service: Service) -> None:
    confirmed = await service.post("/v1/corrections", {"prediction_id": await _predict(service), "label": "positive"})
    told = await service.post("/v1/corrections", {"text": "quite neutral", "label": "neutral"})
    assert [confirmed.json()["kind"], told.json()["kind"]] == ["confirmation", "correction"]
    assert told.json()["predicted_label"] is None
    assert service.value("hone_corrections_total", kind="confirmation") == 1.0
    assert service.value("hone_corrections_total", kind="correction") == 1.0


async def test_one_key_counts_once(service: Service) -> None:
    body = {"prediction_id": await _predict(service), "label": "negative"}
    sent = [service.post("/v1/corrections", body, idempotency_key="key-1") for _ in range(5)]
    responses = [*await asyncio.gather(*sent), await service.post("/v1/corrections", body, idempotency_key="key-1")]
    assert {response.status_code for response in responses} == {201}
    assert len({response.text for response in responses}) == 1
    assert len((await _stored(service)).corrections) == 1
    other = await service.post("/v1/corrections", {**body, "label": "neutral"}, idempotency_key="key-1")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_a_repeated_correction_is_counted_once(service: Service) -> None:
    body = {"prediction_id": await _predict(service), "label": "negative"}
    for _ in range(3):
        await service.post("/v1/corrections", body, idempotency_key="key-1")
    assert service.value("hone_corrections_total", kind="correction") == 1.0


async def test_a_prediction_still_in_another_replicas_queue_is_waited_for(service: Service) -> None:
    prediction_id = await _predict(service)
    log = service.parts.log
    assert log is not None
    assert log.flush(10)
    record = await service.parts.store.call(Store.prediction, prediction_id)
    late = record.model_copy(update={"prediction_id": "p_of_another_replica"})
    asking = asyncio.create_task(service.post("/v1/corrections", {"prediction_id": late.prediction_id, "label": "neutral"}))
    await asyncio.sleep(0.2)
    assert not asking.done()
    records: Sequence[PredictionRecord] = [late]
    await service.parts.store.call(Store.log_predictions, records)
    assert (await asking).status_code == 201


async def test_an_unknown_prediction_is_not_found(service: Service) -> None:
    response = await service.post("/v1/corrections", {"prediction_id": "p_nowhere", "label": "neutral"})
    assert (response.status_code, response.json()["code"]) == (404, "unknown_prediction")
    assert (await _stored(service)).corrections == []


async def test_an_unknown_label_is_refused_with_the_nearest_ones(service: Service) -> None:
    response = await service.post("/v1/corrections", {"text": "hm", "label": "Positiv"})
    assert (response.status_code, response.json()["code"]) == (422, "unknown_label")
    assert response.json()["details"]["nearest"][0] == "positive"
    assert (await _stored(service)).corrections == []


BAD: list[tuple[dict[str, object], int, str]] = [
    ({}, 400, "label: it is missing"),
    ({"label": "neutral"}, 400, "neither"),
    ({"label": "neutral", "text": ""}, 422, "text is empty"),
    ({"label": "neutral", "text": "a\0"}, 422, "NUL"),
    ({"label": "neutral", "text": "a" * 501}, 422, "at most 500"),
    ({"label": "neutral", "text": 5}, 400, "got a number"),
    ({"label": "", "text": "a"}, 400, "label"),
    ({"label": "x" * 201, "text": "a"}, 400, "label"),
    ({"label": ["neutral"], "text": "a"}, 400, "got an array"),
    ({"label": "neutral", "text": "a", "confidence": 2}, 400, "confidence"),
    ({"label": "neutral", "text": "a", "annotator": "a\0"}, 400, "annotator holds a NUL"),
    ({"label": "neutral", "text": "a", "metadata": {"a": "\0"}}, 400, "metadata holds a NUL"),
    ({"label": "neutral", "text": "a", "who": "me"}, 400, "who: there is no such field"),
]


@pytest.mark.parametrize(("body", "status", "says"), BAD, ids=[says for _, _, says in BAD])
async def test_bad_corrections_are_refused_and_not_kept(service: Service, body: object, status: int, says: str) -> None:
    response = await service.post("/v1/corrections", body)
    assert response.status_code == status
    assert says in response.json()["error"]
    assert (await _stored(service)).corrections == []


@pytest.mark.parametrize("key", ["", "a b", "x" * 201])
async def test_bad_keys_are_refused(service: Service, key: str) -> None:
    response = await service.post("/v1/corrections", {"text": "a", "label": "neutral"}, idempotency_key=key)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_body")


async def test_corrections_are_listed_newest_first_in_pages(service: Service) -> None:
    for number in range(5):
        await service.post("/v1/corrections", {"text": f"text {number}", "label": "neutral", "annotator": str(number)})
    seen: list[str | None] = []
    query: dict[str, str | int] = {"limit": 2}
    while True:
        page = CorrectionsAnswer.model_validate_json((await service.http.get("/v1/corrections", params=query)).content)
        seen += [correction.annotator for correction in page.corrections]
        if page.next_before is None:
            break
        query["before"] = page.next_before
    assert seen == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=many", "before="])
async def test_bad_pages_are_refused(service: Service, query: str) -> None:
    response = await service.http.get(f"/v1/corrections?{query}")
    assert (response.status_code, response.json()["code"]) == (400, "malformed_body")
    assert query.partition("=")[0] in response.json()["error"]


async def test_a_page_before_nothing_known_is_not_found(service: Service) -> None:
    assert (await service.http.get("/v1/corrections?before=c_nowhere")).status_code == 404
