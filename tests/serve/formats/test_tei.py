"""text-embeddings-inference's HTTP interface, asked with the requests its documentation shows."""

from __future__ import annotations

from typing import Any

import pytest

from core import errors
from core.errors import HoneError
from serve.formats.tei import TeiError, read_inputs
from serve.statuses import error_response
from tests.serve.formats.conftest import Listen, Listening

TIMES = ("x-compute-time", "x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time")


@pytest.mark.parametrize("inputs", ["so positive", ["so positive"]])
def test_one_text_is_answered_flat_with_all_labels_best_first(replica: Listening, inputs: object) -> None:
    answer = replica.http.post("/predict", json={"inputs": inputs})
    assert [item["label"] for item in answer.json()] == ["positive", "neutral", "negative"]
    scores = [item["score"] for item in answer.json()]
    assert scores == sorted(scores, reverse=True)


def test_a_batch_is_answered_nested(replica: Listening) -> None:
    answer = replica.http.post("/predict", json={"inputs": [["positive"], ["negative"]]})
    assert [row[0]["label"] for row in answer.json()] == ["positive", "negative"]
    assert len(replica.http.post("/predict", json={"inputs": [["positive"]]}).json()[0]) == 3


@pytest.mark.parametrize("inputs", [["a", "b"], [["a"], ["b", "c"]]])
def test_a_pair_is_refused_and_told_how_to_send_two_texts(replica: Listening, inputs: object) -> None:
    answer = replica.http.post("/predict", json={"inputs": inputs})
    body = TeiError.model_validate_json(answer.content)
    assert (answer.status_code, body.error_type) == (422, "Validation")
    assert '[["first"], ["second"]]' in body.error


def test_the_headers_say_where_the_time_went_and_who_answered(replica: Listening) -> None:
    headers = replica.http.post("/predict", json={"inputs": [["abc"], ["de"]]}).headers
    assert headers["x-compute-characters"] == "5"
    assert headers["x-compute-type"] == "cpu"
    assert headers["x-model-version"] == "v1"
    assert all(headers[name].isdigit() for name in (*TIMES, "x-compute-tokens"))
    assert int(headers["x-total-time"]) >= int(headers["x-inference-time"])


def test_options(replica: Listening) -> None:
    body: dict[str, Any] = {"inputs": "so positive", "truncate": None, "truncation_direction": "left", "raw_scores": True}
    raw = replica.http.post("/predict", json=body).json()
    assert sum(item["score"] for item in raw) != pytest.approx(1.0, abs=1e-2)
    assert replica.http.post("/predict", json={**body, "truncate": False}).status_code == 200


BAD: list[tuple[object, int, str, str]] = [
    ({"inputs": ""}, 400, "Empty", "empty text"),
    ({"inputs": []}, 400, "Empty", "list of 0 texts"),
    ({"inputs": [["a"], [""]]}, 400, "Empty", "empty text"),
    ({"inputs": ["a", "b", "c"]}, 422, "Validation", "list of 3 texts"),
    ({"inputs": [["a", "b", "c"]]}, 422, "Validation", "inputs[0] is a list of 3"),
    ({"inputs": [["a"], "b"]}, 422, "Validation", "inputs"),
    ({"inputs": [["a"]] * 21}, 422, "Validation", "at most 20"),
    ({"inputs": "a" * 501}, 422, "Validation", "at most 500"),
    ({"inputs": 5}, 422, "Validation", "inputs"),
    ({"inputs": "a", "truncation_direction": "up"}, 422, "Validation", "truncation_direction"),
]


@pytest.mark.parametrize(("body", "status", "kind", "says"), BAD, ids=[f"{kind}-{says}" for _, _, kind, says in BAD])
def test_errors_have_a_type(replica: Listening, body: object, status: int, kind: str, says: str) -> None:
    answer = replica.http.post("/predict", json=body)
    error = TeiError.model_validate_json(answer.content)
    assert (answer.status_code, error.error_type) == (status, kind)
    assert says in error.error


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.Overloaded("…"), 429, "Overloaded"),
        (errors.KeyBusy("…"), 429, "Overloaded"),
        (errors.NoModel("…"), 503, "Unhealthy"),
        (errors.Unauthenticated("…"), 401, "Unauthorized"),
        (errors.TextTooLong("…"), 422, "Validation"),
        (errors.BodyTooLarge("…", allowed=1), 413, "Validation"),
        (errors.DeadlineExceeded("…"), 504, "Overloaded"),
        (HoneError("…"), 424, "Backend"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, HoneError) else "",
)
def test_statuses_are_those_of_tei(error: HoneError, status: int, kind: str) -> None:
    response = error_response(error, "request-1", "/predict")
    assert response.status_code == status
    assert TeiError.model_validate_json(bytes(response.body)).error_type == kind
    assert b"error_type" not in bytes(error_response(error, "request-1", "/v1/predict").body)


def test_health_and_info_without_a_model(listen: Listen) -> None:
    with listen(versions=0) as replica:
        for path in ("/health", "/info"):
            answer = replica.http.get(path)
            assert (answer.status_code, answer.json()["error_type"]) == (503, "Unhealthy")


def test_health_and_info(replica: Listening) -> None:
    health = replica.http.get("/health")
    assert (health.status_code, health.content) == (200, b"")
    info = replica.http.get("/info").json()
    assert info["model_sha"] == "v1"
    assert info["model_type"]["classifier"]["id2label"] == {"0": "negative", "1": "neutral", "2": "positive"}
    assert info["max_client_batch_size"] == 20


def test_inputs_are_never_read_as_two_texts() -> None:
    assert read_inputs("a").texts == ["a"]
    assert (read_inputs([["a"], ["b"]]).texts, read_inputs([["a"]]).batch, read_inputs(["a"]).batch) == (
        ["a", "b"],
        True,
        False,
    )
