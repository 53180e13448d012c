"""``/v1/labels`` and what corrections may say; withdrawing, changing and confirming."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime

import pyarrow.parquet as pq
import pytest

from core.label_bodies import LabelsAnswer
from tests.serve.conftest import Service


async def _states(service: Service) -> dict[str, str]:
    answer = LabelsAnswer.model_validate_json((await service.http.get("/v1/labels")).content)
    return {label.label: label.state for label in answer.labels}


async def _correct(service: Service, label: str, text: str = "a", annotator: str = "ann", query: str = "") -> tuple[int, str]:
    body = {"text": text, "label": label, "annotator": annotator}
    response = await service.post(f"/v1/corrections{query}", body)
    return response.status_code, response.json().get("code", "")


async def _decide(service: Service, action: str, label: str, into: str | None = None) -> int:
    body = {"action": action, "label": label, **({"into": into} if into else {})}
    return (await service.post("/v1/labels/events", body)).status_code


async def test_a_new_label_is_refused_or_proposed_and_enters_once_backed(service: Service) -> None:
    assert await _correct(service, "mixed") == (422, "unknown_label")
    for number in range(5):
        assert await _correct(service, "mixed") == (422, "unknown_label")
        state = await _correct(service, "mixed", f"text {number}", f"a{number % 2}", "?new_labels=propose")
        assert state == (201, "")
    assert (await _states(service))["mixed"] == "accepted"
    assert await _correct(service, "mixed") == (201, "")
    events = (await service.http.get("/v1/labels/events")).json()["events"]
    assert [(event["action"], event["by"]) for event in events] == [("accept", "proposals"), ("propose", "a0")]


async def test_an_operator_decides_about_labels(service: Service) -> None:
    await _correct(service, "mixed", query="?new_labels=propose")
    shown = (await service.http.get("/v1/labels")).json()["labels"][-1]
    assert shown == {"label": "mixed", "state": "proposed", "stands_for": None, "texts": 1, "annotators": 1}
    assert await _decide(service, "reject", "mixed") == 201
    assert await _correct(service, "mixed", query="?new_labels=propose") == (422, "unknown_label")
    assert await _decide(service, "accept", "mixed") == 201
    assert await _decide(service, "merge", "mixed", "neutral") == 201
    assert await _decide(service, "rename", "positive", "good") == 201
    states = await _states(service)
    expected = {"negative": "used", "neutral": "used", "positive": "replaced", "good": "accepted", "mixed": "replaced"}
    assert {**states, "good": "accepted"} == {**expected}
    # What the champion still answers may still be said.
    assert [(await _correct(service, name))[0] for name in ("positive", "good", "mixed")] == [201, 201, 201]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"action": "merge", "label": "neutral"}, 422, "invalid_input"),
        ({"action": "retire", "label": "unheard of"}, 422, "unknown_label"),
        ({"action": "accept", "label": "neutral"}, 409, "conflict"),
        ({"action": "propose", "label": "x"}, 400, "malformed_body"),
        ({"action": "accept", "label": "a\nb"}, 422, "invalid_input"),
        ({"action": "rename", "label": "neutral", "into": "positive"}, 409, "conflict"),
        ({"label": "neutral"}, 400, "malformed_body"),
    ],
)
async def test_decisions_that_cannot_be_taken_are_refused(service: Service, body: object, status: int, code: str) -> None:
    response = await service.post("/v1/labels/events", body)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert (await service.http.get("/v1/labels/events")).json()["events"] == []


async def test_a_prediction_is_confirmed_without_its_label(service: Service) -> None:
    prediction_id = (await service.post("/v1/predict", {"text": "so positive"})).json()["prediction_id"]
    body = {"prediction_id": prediction_id, "annotator": "ann"}
    confirmed = await service.post("/v1/confirmations", body, idempotency_key="k")
    assert (confirmed.status_code, confirmed.json()["kind"], confirmed.json()["label"]) == (201, "confirmation", "positive")
    assert (await service.post("/v1/confirmations", body, idempotency_key="k")).json() == confirmed.json()
    missing = await service.post("/v1/confirmations", {"prediction_id": "p_nowhere"})
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_prediction")


async def test_a_correction_is_changed_and_taken_back(service: Service) -> None:
    first = (await service.post("/v1/corrections", {"text": "a", "label": "neutral", "annotator": "ann"})).json()
    path = f"/v1/corrections/{first['correction_id']}"
    refused = await service.post(f"{path}/change", {"label": "nothing"})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_label")
    second = (await service.post(f"{path}/change", {"label": "positive", "why": "a slip"}, idempotency_key="k")).json()
    assert (second["replaces"], second["annotator"]) == (first["correction_id"], "ann")
    assert (await service.http.get(path)).json()["replaced_by"] == second["correction_id"]
    assert (await service.post(f"{path}/change", {"label": "negative"})).status_code == 409
    withdrawn = await service.post(f"/v1/corrections/{second['correction_id']}/withdraw", {})
    assert withdrawn.json()["withdrawn"] is True
    assert (await service.post("/v1/corrections/c_nowhere/withdraw", {})).status_code == 404
    assert (await service.http.get("/v1/corrections/c_nowhere")).status_code == 404


async def test_everything_said_is_exported_in_each_format(service: Service) -> None:
    awkward = 'a "quoted", text\r\nof 两行 😀'
    first = (await service.post("/v1/corrections", {"text": awkward, "label": "neutral", "metadata": {"a": [1]}})).json()
    await service.post("/v1/corrections", {"text": "b", "label": "positive", "annotator": "ann", "confidence": 0.5})
    await service.post(f"/v1/corrections/{first['correction_id']}/withdraw", {})
    await _decide(service, "rename", "positive", "good")
    found = {}
    for name in ("jsonl", "csv", "parquet"):
        response = await service.http.get(f"/v1/corrections/export?format={name}")
        assert response.status_code == 200
        found[name] = response.content
    lines = [json.loads(line) for line in found["jsonl"].decode().split("\n") if line]
    assert [(row["text"], row["label"], row["current_label"], row["withdrawn"]) for row in lines] == [
        (awkward, "neutral", "neutral", True),
        ("b", "positive", "good", False),
    ]
    cells = list(csv.DictReader(io.StringIO(found["csv"].decode(), newline="")))
    assert [row["text"] for row in cells] == [awkward, "b"]
    assert [(row["metadata"], row["confidence"], row["annotator"]) for row in cells] == [
        ('{"a": [1]}', "", ""),
        ("", "0.5", "ann"),
    ]
    table = pq.read_table(io.BytesIO(found["parquet"])).to_pylist()
    assert [row["text"] for row in table] == [awkward, "b"]
    assert table[0]["created_at"] == datetime.fromisoformat(lines[0]["created_at"])
    assert (await service.http.get("/v1/corrections/export?format=xml")).status_code == 400


@pytest.mark.parametrize("name", ["csv", "jsonl", "parquet"])
async def test_an_export_of_nothing_is_a_file_without_rows(service: Service, name: str) -> None:
    response = await service.http.get(f"/v1/corrections/export?format={name}")
    assert response.status_code == 200
    assert len(response.content.splitlines()) == (0 if name == "jsonl" else 1) or name == "parquet"
    if name == "parquet":
        assert pq.read_table(io.BytesIO(response.content)).num_rows == 0
