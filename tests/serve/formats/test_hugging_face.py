"""Hugging Face's text-classification, asked by huggingface_hub itself."""

from __future__ import annotations

import time

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.serve.formats.conftest import Listen, Listening

TEXT = "so positive"


@pytest.mark.parametrize("path", ["", "/hf"])
def test_the_python_client_works_with_the_url_alone(replica: Listening, path: str) -> None:
    client = InferenceClient(replica.url + path) if path else InferenceClient(base_url=replica.url)
    before = replica.value("hone_requests_total", route=path or "/", status="200") or 0.0
    found = client.text_classification(TEXT)
    assert [item.label for item in found] == ["positive", "neutral", "negative"]
    assert sum(item.score for item in found) == pytest.approx(1.0, abs=1e-4)
    # It is counted once the answer is out.
    while replica.value("hone_requests_total", route=path or "/", status="200") != before + 1.0:
        time.sleep(0.005)


def test_its_options_are_honoured(replica: Listening) -> None:
    client = InferenceClient(base_url=replica.url)
    assert len(client.text_classification(TEXT, top_k=2)) == 2
    logits = client.text_classification(TEXT, function_to_apply="none")
    assert sum(item.score for item in logits) != pytest.approx(1.0, abs=1e-2)
    sigmoid = client.text_classification(TEXT, function_to_apply="sigmoid")
    assert all(0.0 < item.score < 1.0 for item in sigmoid)
    assert sum(item.score for item in sigmoid) > 1.01


def test_its_users_see_what_was_wrong(replica: Listening) -> None:
    with pytest.raises(HfHubHTTPError, match="at most 500 are allowed"):
        InferenceClient(base_url=replica.url).text_classification("a" * 501)


def test_without_a_key_it_is_refused_and_with_one_it_is_not(listen: Listen) -> None:
    with listen(auth="on") as replica, pytest.raises(HfHubHTTPError, match="API key"):
        InferenceClient(base_url=replica.url).text_classification(TEXT)


def test_the_body_of_the_javascript_client(replica: Listening) -> None:
    answer = replica.http.post("/", json={"inputs": TEXT})
    assert [[item["label"] for item in row] for row in answer.json()] == [["positive", "neutral", "negative"]]


def test_several_texts_are_answered_each_for_itself(replica: Listening) -> None:
    answer = replica.http.post("/hf", json={"inputs": ["so positive", "negative", "neutral"], "parameters": {"top_k": 1}})
    assert [row[0]["label"] for row in answer.json()] == ["positive", "negative", "neutral"]
    assert len(answer.headers["x-prediction-id"].split(",")) == 3


def test_the_older_way_to_ask_for_the_best_label(replica: Listening) -> None:
    answer = replica.http.post("/hf", json={"inputs": TEXT, "parameters": {"return_all_scores": False}})
    assert [len(row) for row in answer.json()] == [1]


def test_the_headers_say_who_answered_and_what_to_name_in_a_correction(replica: Listening) -> None:
    headers = replica.http.post("/hf", json={"inputs": TEXT}).headers
    assert headers["x-model-version"] == "v1"
    told = {"prediction_id": headers["x-prediction-id"], "label": "neutral"}
    correction = replica.http.post("/v1/corrections", json=told).json()
    assert (correction["predicted_label"], correction["model_version"]) == ("positive", "v1")


def test_many_texts_are_not_named_in_headers(listen: Listen) -> None:
    with listen(max_texts=100) as replica:
        answer = replica.http.post("/hf", json={"inputs": ["a"] * 51})
        assert answer.status_code == 200
        assert "x-prediction-id" not in answer.headers


BAD: list[tuple[object, int, str]] = [
    ({"inputs": {"text": "a", "text_pair": "b"}}, 400, "single texts"),
    ({"inputs": []}, 422, "inputs is empty"),
    ({"inputs": ["a", ""]}, 422, "inputs[1] is empty"),
    ({"inputs": ["a", 5]}, 400, "inputs"),
    ({"inputs": "a", "parameters": {"topk": 3}}, 400, "there is no such field"),
    ({"inputs": "a", "parameters": {"function_to_apply": "relu"}}, 400, "function_to_apply"),
    ({"inputs": ["a"] * 21}, 422, "at most 20"),
    ({"text": "a"}, 400, "inputs: it is missing"),
]


@pytest.mark.parametrize(("body", "status", "says"), BAD, ids=[says for _, _, says in BAD])
def test_what_is_wrong_stands_under_error(replica: Listening, body: object, status: int, says: str) -> None:
    answer = replica.http.post("/hf", json=body)
    assert answer.status_code == status
    assert says in answer.json()["error"]


def test_other_methods_are_refused_and_the_console_stays(replica: Listening) -> None:
    assert replica.http.get("/").headers["content-type"].startswith("text/html")
    assert sorted(replica.http.delete("/").headers["allow"].split(", ")) == ["GET", "POST"]
    assert replica.http.get("/hf").status_code == 405
