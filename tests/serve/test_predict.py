"""``POST /v1/predict``: what it answers, and everything it refuses."""

from __future__ import annotations

import json
from datetime import timedelta

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.schemas import ErrorAnswer, PredictionAnswer, PredictionsAnswer, now
from core.text import text_key
from feedback.store import Store
from tests.bundles import LABELS
from tests.serve.conftest import Service, Start


async def _raw(service: Service, body: bytes, **headers: str) -> httpx.Response:
    named = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await service.http.post("/v1/predict", content=body, headers=named)


async def test_one_text_gets_one_prediction(service: Service) -> None:
    response = await service.post("/v1/predict", {"text": "so positive"})
    answer = PredictionAnswer.model_validate_json(response.content)
    assert (answer.label, answer.model_version, answer.source, answer.truncated) == ("positive", "v1", "head", False)
    assert answer.score == answer.scores[0].score
    assert {score.label for score in answer.scores} == set(LABELS)
    assert sum(score.score for score in answer.scores) == pytest.approx(1.0, abs=1e-5)


async def test_several_texts_get_predictions_in_order(service: Service) -> None:
    texts = ["negative", "positive", "neutral", "positive"]
    response = await service.post("/v1/predict", {"texts": texts, "top_k": 1})
    answer = PredictionsAnswer.model_validate_json(response.content)
    assert [prediction.label for prediction in answer.predictions] == texts
    assert [len(prediction.scores) for prediction in answer.predictions] == [1] * 4
    assert len({prediction.prediction_id for prediction in answer.predictions}) == 4
    assert {prediction.model_version for prediction in answer.predictions} == {answer.model_version} == {"v1"}


async def test_a_list_of_one_is_still_a_list(service: Service) -> None:
    response = await service.post("/v1/predict", {"texts": ["positive"], "top_k": 99})
    answer = PredictionsAnswer.model_validate_json(response.content)
    assert len(answer.predictions[0].scores) == len(LABELS)


async def test_scores_fall_and_match_the_classifier(service: Service) -> None:
    response = await service.post("/v1/predict", {"text": "negative and neutral"})
    scores = {item["label"]: item["score"] for item in response.json()["scores"]}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    classifier = service.parts.slot.require().classifier
    (expected,) = classifier.predict(["negative and neutral"])
    assert [scores[label] for label in classifier.labels] == pytest.approx(expected.tolist(), abs=1e-6)


async def test_a_large_answer_is_the_same_as_many_small_ones(start: Start) -> None:
    changed: dict[str, object] = {"max_texts": 2_000, "max_body_bytes": 1_000_000}
    async with start(changed=changed) as service:
        texts = [LABELS[place % 3] for place in range(1_500)]
        large = (await service.post("/v1/predict", {"texts": texts})).json()["predictions"]
        small = {label: (await service.post("/v1/predict", {"text": label})).json() for label in LABELS}
        assert [item["scores"] for item in large] == [small[text]["scores"] for text in texts]


async def test_what_was_answered_is_kept(service: Service) -> None:
    before = now()
    response = await service.post("/v1/predict", {"text": "so positive", "metadata": {"shop": "north", "seen": [1, None]}})
    answer = response.json()
    log = service.parts.log
    assert log is not None
    assert log.flush(10)
    record = await service.parts.store.call(Store.prediction, answer["prediction_id"])
    assert record.model_dump(exclude={"created_at"}) == {
        "prediction_id": answer["prediction_id"],
        "text": "so positive",
        "text_key": text_key("so positive"),
        "label": "positive",
        "score": answer["score"],
        "model_version": "v1",
        "source": "head",
        "metadata": {"shop": "north", "seen": [1, None]},
        "subject": None,
        "text_kept": "full",
        "sample_ratio": 1.0,
        "model_label": None,
        "model_score": None,
    }
    assert timedelta(0) <= record.created_at - before < timedelta(minutes=1)
    assert service.value("hone_log_rows_total", outcome="written") == 1.0


async def test_nothing_is_kept_where_that_is_switched_off(start: Start) -> None:
    async with start(changed={"log_predictions": False}) as service:
        answer = (await service.post("/v1/predict", {"text": "positive"})).json()
        correction = {"prediction_id": answer["prediction_id"], "label": "negative"}
        assert (await service.post("/v1/corrections", correction)).status_code == 404


async def test_answers_are_counted(service: Service) -> None:
    await service.post("/v1/predict", {"texts": ["a", "b"]})
    await service.post("/v1/predict", {"text": ""})
    assert service.value("hone_predictions_total", version="v1", source="head") == 2.0
    assert service.value("hone_prediction_seconds_count", version="v1", source="head") == 2.0
    assert service.value("hone_requests_total", route="/v1/predict", status="200") == 1.0
    assert service.value("hone_requests_total", route="/v1/predict", status="422") == 1.0
    assert service.value("hone_refused_total", code="invalid_text") == 1.0
    assert service.value("hone_request_seconds_count", route="/v1/predict") == 2.0


async def test_without_a_model_the_answer_is_later(start: Start) -> None:
    async with start(versions=0) as service:
        response = await service.post("/v1/predict", {"text": "positive"})
        assert (response.status_code, response.json()["code"], response.headers["retry-after"]) == (503, "no_model", "2")
        assert (await service.http.get("/readyz")).status_code == 503
        assert (await service.http.get("/healthz")).status_code == 200


async def test_a_deadline_is_kept(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start(changed={"request_timeout_s": 0.05}) as service:
        await service.parts.batcher.close()
        response = await service.post("/v1/predict", {"text": "positive"})
        assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
        assert service.parts.batcher.waiting_texts == 0


BAD: list[tuple[str, bytes, int, str, str]] = [
    ("empty body", b"", 400, "malformed_body", "neither of text and texts"),
    ("broken JSON", b'{"text": "a"', 400, "malformed_body", "not JSON"),
    ("not an object", b"[]", 400, "malformed_body", "JSON object, got an array"),
    ("null", b"null", 400, "malformed_body", "JSON object, got null"),
    ("trailing characters", b'{"text": "a"} x', 400, "malformed_body", "not JSON"),
    ("invalid UTF-8", b'{"text": "\xff\xfe"}', 400, "malformed_body", "not JSON"),
    ("byte order mark", b'\xef\xbb\xbf{"text": "a"}', 400, "malformed_body", "not JSON"),
    ("deeply nested", b"[" * 19_000, 400, "malformed_body", "not JSON"),
    (
        "deeply nested metadata",
        b'{"text":"a","metadata":{"a":' + b"[" * 9_000 + b"]" * 9_000 + b"}}",
        400,
        "malformed_body",
        "not",
    ),
    ("both", b'{"text": "a", "texts": ["a"]}', 400, "malformed_body", "both of text and texts"),
    ("neither", b"{}", 400, "malformed_body", "neither of text and texts"),
    ("unknown field", b'{"text": "a", "topk": 1}', 400, "malformed_body", "topk: there is no such field; allowed: text, texts"),
    ("number as text", b'{"text": 5}', 400, "malformed_body", "text: must be a valid string, got a number"),
    ("object as text", b'{"text": {}}', 400, "malformed_body", "got an object"),
    ("boolean as text", b'{"text": true}', 400, "malformed_body", "got a boolean"),
    ("null texts", b'{"texts": null}', 400, "malformed_body", "neither"),
    ("string as texts", b'{"texts": "a"}', 400, "malformed_body", "got a string"),
    ("number in texts", b'{"texts": ["a", 5]}', 400, "malformed_body", "texts[1]"),
    ("null in texts", b'{"texts": ["a", null]}', 400, "malformed_body", "got null"),
    ("nested texts", b'{"texts": [["a"]]}', 400, "malformed_body", "got an array"),
    ("top_k zero", b'{"text": "a", "top_k": 0}', 400, "malformed_body", "top_k: must be greater than or equal to 1"),
    ("top_k NaN", b'{"text": "a", "top_k": NaN}', 400, "malformed_body", "finite"),
    ("top_k huge", b'{"text": "a", "top_k": 1' + b"0" * 300 + b"}", 400, "malformed_body", "top_k"),
    ("top_k word", b'{"text": "a", "top_k": "many"}', 400, "malformed_body", "top_k: it must be an integer"),
    ("metadata list", b'{"text": "a", "metadata": []}', 400, "malformed_body", "metadata"),
    ("metadata NaN", b'{"text": "a", "metadata": {"a": NaN}}', 400, "malformed_body", "finite"),
    ("metadata infinite", b'{"text": "a", "metadata": {"a": [1e999]}}', 400, "malformed_body", "finite"),
    ("metadata NUL", b'{"text": "a", "metadata": {"a": {"b\\u0000": 1}}}', 400, "malformed_body", "NUL"),
    ("metadata large", b'{"text": "a", "metadata": {"a": "' + b"x" * 5_000 + b'"}}', 400, "malformed_body", "4096"),
    ("metadata empty key", b'{"text": "a", "metadata": {"": 1}}', 400, "malformed_body", "metadata"),
    ("a number of 5000 digits", b'{"text": "a", "metadata": {"a": ' + b"9" * 5_000 + b"}}", 400, "malformed_body", "not JSON"),
    (
        "many unknown fields",
        json.dumps({f"f{n}": 1 for n in range(900)}).encode(),
        400,
        "malformed_body",
        "900 fields are wrong",
    ),
    ("empty text", b'{"text": ""}', 422, "invalid_text", "text is empty"),
    ("blank text", b'{"text": " \\n\\t\\u3000"}', 422, "invalid_text", "text is blank"),
    ("invisible text", b'{"text": "\\u200b\\ufeff"}', 422, "invalid_text", "text is blank"),
    ("NUL", b'{"text": "a\\u0000b"}', 422, "invalid_text", "NUL character, at position 1"),
    ("lone high surrogate", b'{"text": "a\\ud83d"}', 400, "malformed_body", "not JSON"),
    ("lone low surrogate", b'{"text": "\\ude00 a"}', 400, "malformed_body", "not JSON"),
    ("swapped surrogates", b'{"text": "\\ude00\\ud83d"}', 400, "malformed_body", "not JSON"),
    ("long text", b'{"text": "' + b"a" * 501 + b'"}', 422, "invalid_text", "501 characters, at most 500"),
    ("one bad among many", b'{"texts": ["a", "b", " "]}', 422, "invalid_text", "texts[2] is blank"),
    ("no texts", b'{"texts": []}', 422, "invalid_text", "at least one"),
    ("too many texts", json.dumps({"texts": ["a"] * 21}).encode(), 422, "too_many_texts", "got 21 texts, at most 20"),
    ("too many bytes", b'{"text": "' + b"a" * 20_000 + b'"}', 413, "body_too_large", "20000 bytes"),
]


@pytest.mark.parametrize(("body", "status", "code", "says"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
async def test_bad_bodies_are_refused(service: Service, body: bytes, status: int, code: str, says: str) -> None:
    response = await _raw(service, body)
    error = ErrorAnswer.model_validate_json(response.content)
    assert (response.status_code, error.code) == (status, code)
    assert says in error.error
    assert error.request_id == response.headers["x-request-id"]
    assert service.value("hone_predictions_total", version="v1", source="head") is None
    assert service.parts.log is not None
    assert service.parts.log.flush(10)
    assert service.parts.log.written == 0
    assert (await service.post("/v1/predict", {"text": "positive"})).status_code == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "json"]
)
async def test_other_content_types_are_refused(service: Service, content_type: str) -> None:
    response = await _raw(service, b'{"text": "a"}', content_type=content_type)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json", "APPLICATION/JSON", 'application/json; charset="UTF-8"'])
async def test_json_is_read_however_it_is_spelt(service: Service, content_type: str) -> None:
    assert (await _raw(service, b'{"text": "a"}', content_type=content_type)).status_code == 200


async def test_a_missing_content_type_and_compression_are_refused(service: Service) -> None:
    assert (await service.http.post("/v1/predict", content=b'{"text": "a"}')).status_code == 415
    assert (await _raw(service, b'{"text": "a"}', content_encoding="gzip")).status_code == 415


async def test_a_body_without_length_is_cut_off_at_the_limit(service: Service) -> None:
    sent = 0

    async def endless() -> object:
        nonlocal sent
        while True:
            sent += 1_000
            yield b"a" * 1_000

    response = await service.http.post("/v1/predict", content=endless(), headers={"content-type": "application/json"})  # type: ignore[arg-type] # an async generator
    assert (response.status_code, response.headers["connection"]) == (413, "close")
    assert sent == 21_000


async def test_of_a_key_sent_twice_the_last_counts(service: Service) -> None:
    assert (await _raw(service, b'{"text": "negative", "text": "positive"}')).json()["label"] == "positive"


async def test_markup_that_no_parser_reads_is_still_a_text(service: Service) -> None:
    assert (await service.post("/v1/predict", {"text": "<![x[ positive"})).json()["label"] == "positive"


async def test_a_secret_in_the_wrong_place_is_not_repeated(service: Service) -> None:
    secret = "my secret diary"
    bodies: list[object] = [
        {secret: 1},
        {"text": {"a": secret}},
        {"texts": secret},
        {"text": "a", "metadata": {secret: float("inf")}},
    ]
    for body in bodies:
        response = await _raw(service, json.dumps(body).encode())
        assert response.status_code == 400
        assert secret not in response.text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
bodies = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {},
        optional={
            "text": st.text(max_size=60) | json_values,
            "texts": st.lists(st.text(max_size=20) | json_values, max_size=4) | json_values,
            "top_k": st.integers(-2, 5) | json_values,
            "function_to_apply": st.sampled_from(["softmax", "sigmoid", "none"]) | json_values,
            "truncation": st.sampled_from(["right", "left", "refuse"]) | json_values,
            "long_text": st.sampled_from(["truncate", "chunk"]) | json_values,
            "min_score": st.floats() | json_values,
            "explain": st.booleans() | json_values,
            "metadata": st.dictionaries(st.text(max_size=8), json_values, max_size=3) | json_values,
            "extra": json_values,
        },
    ).map(lambda value: json.dumps(value).encode()),
)


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies)
async def test_no_body_breaks_the_service(service: Service, body: bytes) -> None:
    response = await _raw(service, body)
    assert response.status_code in (200, 400, 413, 422), response.text
    if response.status_code == 200:
        (PredictionsAnswer if "predictions" in response.json() else PredictionAnswer).model_validate_json(response.content)
    else:
        ErrorAnswer.model_validate_json(response.content)
