"""The options of ``POST /v1/predict``, asked over HTTP of a classifier whose encoder reads eight tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from core.classifier import Classifier
from core.schemas import ErrorAnswer, PredictionAnswer, PredictRequest
from feedback.store import Store
from tests.core.encoders import LABELS, MAX_TOKENS, write_encoder_bundle
from tests.serve.conftest import Service, Start

LONG = "good phone " * 6 + "very bad " * 6


@pytest.fixture
async def encoding(start: Start) -> AsyncIterator[Service]:
    """Give a replica whose classifier has an encoder and n-grams."""
    async with start(versions=0, changed={"max_text_chars": 20_000, "max_body_bytes": 200_000}) as service:
        registry = service.parts.registry
        staged = registry.root / "staged"
        write_encoder_bundle(staged)
        registry.promote(registry.register(staged, None, by="test", why="a fixture"), by="test", why="a fixture")
        await service.serves("v1")
        yield service


def _classifier(service: Service) -> Classifier:
    return service.parts.slot.require().classifier


async def _ask(service: Service, text: str, **options: Any) -> PredictionAnswer:
    response = await service.post("/v1/predict", {"text": text, **options})
    assert response.status_code == 200, response.text
    return PredictionAnswer.model_validate_json(response.content)


async def _refused(service: Service, body: dict[str, Any]) -> tuple[int, ErrorAnswer]:
    response = await service.post("/v1/predict", body)
    return response.status_code, ErrorAnswer.model_validate_json(response.content)


def _by_label(answer: PredictionAnswer) -> list[float]:
    scores = {item.label: item.score for item in answer.scores}
    return [scores[label] for label in LABELS]


async def test_defaults_written_out_change_nothing(encoding: Service) -> None:
    defaults = {"function_to_apply": "softmax", "truncation": "right", "long_text": "truncate", "min_score": None}
    plain = await _ask(encoding, LONG)
    told = await _ask(encoding, LONG, **defaults, explain=False, top_k=None)
    assert told.model_copy(update={"prediction_id": plain.prediction_id}) == plain
    assert (plain.truncated, plain.abstained, plain.windows, plain.explanation) == (True, False, 1, None)


async def test_none_shows_the_calibrated_logits(encoding: Service) -> None:
    classifier = _classifier(encoding)
    (expected,) = classifier.logits(classifier.prepare(["good phone"]))
    answer = await _ask(encoding, "good phone", function_to_apply="none")
    assert _by_label(answer) == pytest.approx(expected.tolist(), abs=1e-5)
    assert min(_by_label(answer)) < 0
    squashed = await _ask(encoding, "good phone", function_to_apply="sigmoid")
    assert _by_label(squashed) == pytest.approx((1 / (1 + np.exp(-expected))).tolist(), abs=1e-5)


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
async def test_the_log_keeps_the_probability_of_the_real_label(encoding: Service, function: str) -> None:
    plain = await _ask(encoding, "good phone")
    answer = await _ask(encoding, "good phone", function_to_apply=function, min_score=1.0)
    assert (answer.abstained, answer.label) == (True, plain.label)
    log = encoding.parts.log
    assert log is not None
    assert log.flush(10)
    record = await encoding.parts.store.call(Store.prediction, answer.prediction_id)
    assert record.label == plain.label
    assert record.score == pytest.approx(plain.score, abs=2e-6)
    assert encoding.value("hone_abstained_total", version="v1") == 1.0


async def test_a_text_is_cut_where_the_request_says(encoding: Service) -> None:
    classifier = _classifier(encoding)
    for side in ("right", "left"):
        answer = await _ask(encoding, LONG, truncation=side)
        expected = classifier.score(classifier.prepare([LONG], side))
        assert answer.truncated
        assert _by_label(answer) == pytest.approx(expected[0].tolist(), abs=1e-5)
    assert encoding.value("hone_truncated_total", version="v1") == 2.0
    assert not (await _ask(encoding, "good phone", truncation="left")).truncated


async def test_a_text_that_must_not_be_cut_is_refused(encoding: Service) -> None:
    status, error = await _refused(encoding, {"texts": ["good", LONG], "truncation": "refuse"})
    assert (status, error.code) == (422, "text_too_long")
    assert error.details == {"position": 1, "allowed": MAX_TOKENS}
    assert "texts[1]" in error.error
    assert "phone" not in error.error
    assert not (await _ask(encoding, "good phone " * 3, truncation="refuse")).truncated
    assert encoding.parts.batcher.waiting_texts == 0


async def test_a_long_text_is_read_in_windows(encoding: Service) -> None:
    classifier = _classifier(encoding)
    (prepared,) = classifier.prepare([LONG], "windows")
    parts = [prepared, *prepared.rest]
    tokens = np.array([len(part.ids) for part in parts])
    expected = (tokens / tokens.sum()) @ classifier.score(parts)
    answer = await _ask(encoding, LONG, long_text="chunk")
    assert (answer.truncated, answer.windows) == (False, len(parts))
    assert _by_label(answer) == pytest.approx(expected.tolist(), abs=1e-5)
    # 24 tokens, six at a time, one of them again in the next.
    assert answer.windows == 5
    logits = await _ask(encoding, LONG, long_text="chunk", function_to_apply="none", truncation="refuse")
    powers = np.exp(_by_label(logits))
    assert (powers / powers.sum()).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


async def test_long_and_short_texts_are_answered_in_order(encoding: Service) -> None:
    texts = ["good", LONG, "bad phone", LONG + "good", "very"] * 3
    response = await encoding.post("/v1/predict", {"texts": texts, "long_text": "chunk"})
    answers = [PredictionAnswer.model_validate(item) for item in response.json()["predictions"]]
    for text, answer in zip(texts, answers, strict=True):
        alone = await _ask(encoding, text, long_text="chunk")
        assert _by_label(answer) == pytest.approx(_by_label(alone), abs=1e-5)
        assert (answer.windows, answer.truncated) == (alone.windows, False)
    assert [answer.windows for answer in answers[:5]] == [1, 5, 1, 5, 1]
    assert encoding.parts.batcher.waiting_texts == 0


async def test_requests_with_different_options_share_the_engine(encoding: Service) -> None:
    answer = await _ask(encoding, "good phone")
    bodies: list[dict[str, Any]] = [
        {"text": "good phone", "function_to_apply": function, "truncation": side, "long_text": long_text}
        for function in ("softmax", "sigmoid", "none")
        for side in ("right", "left", "refuse")
        for long_text in ("truncate", "chunk")
    ]
    responses = await asyncio.gather(*(encoding.post("/v1/predict", body) for body in bodies * 3))
    assert {response.json()["label"] for response in responses} == {answer.label}


EXTREMES = {
    "empty once cleaned": "<b></b>",
    "one word": "good",
    "long": ("good phone " * 2_000)[:20_000],
    "one endless word": "s" * 20_000,
    "emoji": "👍🏽👨‍👩‍👧 😍" * 20,
    "right to left": "بطاقتي لا تعمل \u202eabc\u202c שלי",
    "chinese": "这个产品好" * 50,
    "marks alone": "\u0301\u0301",
}


@pytest.mark.parametrize(
    "options",
    [
        {"truncation": "left"},
        {"long_text": "chunk"},
        {"long_text": "chunk", "function_to_apply": "none"},
        {"function_to_apply": "sigmoid", "min_score": 0.5},
        {"explain": True},
        {"explain": True, "truncation": "left", "function_to_apply": "none"},
    ],
    ids=str,
)
async def test_any_text_takes_any_option(encoding: Service, options: dict[str, Any]) -> None:
    for text in EXTREMES.values():
        answer = await _ask(encoding, text, **options)
        assert np.isfinite(answer.score)
        cut = _classifier(encoding).prepare([text])[0].truncated
        assert answer.truncated == (cut and options.get("long_text") != "chunk")
        assert (answer.windows > 1) == (cut and options.get("long_text") == "chunk")
        assert (answer.explanation is not None) == ("explain" in options)


async def test_the_document_names_every_option_and_what_it_answers(service: Service) -> None:
    schemas = (await service.http.get("/openapi.json")).json()["components"]["schemas"]
    asked = schemas["PredictRequest"]["properties"]
    assert asked["function_to_apply"]["enum"] == ["softmax", "sigmoid", "none"]
    assert asked["truncation"]["enum"] == ["right", "left", "refuse"]
    assert asked["long_text"]["enum"] == ["truncate", "chunk"]
    assert set(asked) == set(PredictRequest.model_fields)
    assert all(field["description"] for field in asked.values())
    answered = schemas["PredictionAnswer"]["properties"]
    # With `none` a score is any number, so the document promises no range.
    assert not {"minimum", "maximum"} & set(answered["score"])
    assert not {"minimum", "maximum"} & set(schemas["LabelScore"]["properties"]["score"])
    assert {"abstained", "windows", "truncated"} <= set(schemas["PredictionAnswer"]["required"])
    assert schemas["ExplanationAnswer"]["properties"]["method"]["enum"] == ["shapley", "shapley_sampled"]
