"""Bodies on the wire: what is refused, what is bounded, what travels unchanged."""

from __future__ import annotations

import inspect
from datetime import UTC, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core import run_bodies, schemas
from core.run_bodies import RunRequest
from core.schemas import (
    LIVE_STATES,
    CorrectionAnswer,
    CorrectionRequest,
    ErrorAnswer,
    LabelScore,
    PredictionAnswer,
    PredictionRecord,
    PredictionsAnswer,
    PredictRequest,
    RunAnswer,
    Wire,
    now,
)

_CLASSES = {kind for module in (schemas, run_bodies) for _, kind in inspect.getmembers(module, inspect.isclass)}
_WIRES = sorted((kind for kind in _CLASSES if issubclass(kind, Wire) and kind is not Wire), key=lambda kind: kind.__name__)
_PREDICTION: dict[str, Any] = {
    "prediction_id": "p1",
    "label": "好评",
    "score": 0.5,
    "scores": [{"label": "好评", "score": 0.5}],
    "model_version": "v1",
    "source": "head",
    "truncated": False,
    "abstained": False,
    "windows": 1,
}
_ATTRIBUTION: dict[str, Any] = {"start": 0, "end": 2, "text": "so", "attribution": -0.25}
_EXPLANATION: dict[str, Any] = {
    "method": "shapley",
    "source": "a paper",
    "label": "好评",
    "score": 0.5,
    "baseline_score": 0.75,
    "evaluations": 1,
    "attributions": [_ATTRIBUTION],
}
_MEMORY: dict[str, Any] = {"correction_id": "c1", "match": "near", "similarity": 0.97}
_CORRECTION: dict[str, Any] = {
    "correction_id": "c1",
    "kind": "correction",
    "label": "a",
    "predicted_label": None,
    "prediction_id": None,
    "model_version": None,
    "annotator": None,
    "confidence": None,
    "created_at": "2025-06-01T00:00:00Z",
}
_RUN: dict[str, Any] = {
    "run_id": "r1",
    "state": "queued",
    "speed": "head",
    "trigger": "manual",
    "note": None,
    "created_at": "2025-06-01T00:00:00Z",
    "started_at": None,
    "ended_at": None,
    "stage": None,
    "progress_ratio": 0.0,
    "remaining_s": None,
    "metrics": {},
    "snapshot": None,
    "version": None,
    "promoted": None,
    "error": None,
}
_BODIES: dict[type[Wire], dict[str, Any]] = {
    PredictRequest: {"text": "a"},
    LabelScore: {"label": "a", "score": 1.0},
    schemas.AttributionAnswer: _ATTRIBUTION,
    schemas.ExplanationAnswer: _EXPLANATION,
    PredictionAnswer: _PREDICTION | {"explanation": _EXPLANATION, "memory": _MEMORY},
    schemas.MemoryAnswer: _MEMORY,
    PredictionsAnswer: {"model_version": "v1", "predictions": [_PREDICTION]},
    CorrectionRequest: {"text": "a", "label": "b"},
    CorrectionAnswer: _CORRECTION,
    schemas.CorrectionsAnswer: {"corrections": [_CORRECTION], "next_before": None},
    RunRequest: {"speed": "full"},
    RunAnswer: _RUN,
    schemas.CurvePoint: {"progress_ratio": 0.5, "loss": 1.25, "examples_per_s": 30.0},
    schemas.Outlook: {"at": "2025-06-01T00:00:00Z", "trigger": "count", "due_at": None, "held_by": None, "why": "12 of 50"},
    schemas.RunsAnswer: {"runs": [_RUN]},
    ErrorAnswer: {"error": "what was wrong", "code": "internal", "request_id": "q1"},
}


def test_every_body_is_tested() -> None:
    assert set(_BODIES) == set(_WIRES)


@pytest.mark.parametrize("kind", _WIRES)
def test_a_body_survives_json_and_does_not_change(kind: type[Wire]) -> None:
    body = kind.model_validate(_BODIES[kind])
    assert kind.model_validate_json(body.model_dump_json()) == body
    with pytest.raises(ValidationError, match="frozen"):
        setattr(body, next(iter(kind.model_fields)), None)


@pytest.mark.parametrize("kind", _WIRES)
def test_unknown_fields_are_refused(kind: type[Wire]) -> None:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate({**_BODIES[kind], "misspelt": 1})
    assert [(error["type"], error["loc"]) for error in caught.value.errors()] == [("extra_forbidden", ("misspelt",))]


@pytest.mark.parametrize("kind", _WIRES)
def test_every_body_says_what_it_is(kind: type[Wire]) -> None:
    assert kind.__doc__


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (PredictRequest, {"text": 7}),
        (PredictRequest, {"text": ["a"]}),
        (PredictRequest, {"texts": "a"}),
        (PredictRequest, {"texts": ["a", None]}),
        (PredictRequest, {"top_k": 0}),
        (PredictRequest, {"top_k": 10_001}),
        (PredictRequest, {"top_k": 1.5}),
        (PredictRequest, {"metadata": {"": 1}}),
        (PredictRequest, {"metadata": {"x" * 201: 1}}),
        (PredictRequest, {"metadata": [1]}),
        (PredictRequest, {"metadata": {"a": object()}}),
        (CorrectionRequest, {"label": ""}),
        (CorrectionRequest, {"label": "x" * 201}),
        (CorrectionRequest, {"label": None}),
        (CorrectionRequest, {"prediction_id": ""}),
        (CorrectionRequest, {"annotator": "x" * 201}),
        (CorrectionRequest, {"confidence": -0.01}),
        (CorrectionRequest, {"confidence": 1.01}),
        (CorrectionRequest, {"confidence": float("nan")}),
        (PredictRequest, {"function_to_apply": "argmax"}),
        (PredictRequest, {"function_to_apply": None}),
        (PredictRequest, {"truncation": "middle"}),
        (PredictRequest, {"long_text": "summarise"}),
        (PredictRequest, {"min_score": 1.01}),
        (PredictRequest, {"min_score": -0.01}),
        (PredictRequest, {"min_score": float("nan")}),
        (LabelScore, {"score": float("inf")}),
        (LabelScore, {"score": float("nan")}),
        (PredictionAnswer, {"score": float("nan")}),
        (PredictionAnswer, {"windows": 0}),
        (schemas.ExplanationAnswer, {"method": "attention"}),
        (PredictionAnswer, {"source": "guess"}),
        (PredictionAnswer, {"truncated": None}),
        (RunRequest, {"speed": "memory"}),
        (RunRequest, {"note": "x" * 501}),
        (RunRequest, {"preset": "slow"}),
        (RunRequest, {"finetune": {"epochs": 0}}),
        (RunRequest, {"finetune": {"speed": 1}}),
        (RunRequest, {"finetune": {"learning_rate": float("nan")}}),
        (RunRequest, {"speed": "head", "preset": "fast"}),
        (RunAnswer, {"state": "dead"}),
        (RunAnswer, {"progress_ratio": 1.1}),
        (RunAnswer, {"trigger": "whim"}),
        (CorrectionAnswer, {"kind": "opinion"}),
    ],
)
def test_values_out_of_bounds_are_refused(kind: type[Wire], changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind.model_validate(_BODIES[kind] | changes)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (PredictRequest, {"text": None, "texts": []}),
        (PredictRequest, {"top_k": 10_000}),
        (PredictRequest, {"min_score": 0.0}),
        (PredictRequest, {"min_score": 1.0, "explain": True}),
        (LabelScore, {"score": -12.5}),
        (PredictRequest, {"metadata": {"x" * 200: [None, {"deep": [1.5, "a", True]}]}}),
        (CorrectionRequest, {"label": "x" * 200, "confidence": 0.0}),
        (CorrectionRequest, {"confidence": 1.0, "annotator": "标注员"}),
        (RunRequest, {"note": "x" * 500}),
        (RunRequest, {"preset": "fast", "finetune": {"epochs": 1, "dropout": None}}),
        (RunAnswer, {"progress_ratio": 1.0}),
    ],
)
def test_values_at_their_bounds_are_taken(kind: type[Wire], changes: dict[str, Any]) -> None:
    body = kind.model_validate(_BODIES[kind] | changes)
    assert body.model_dump(include=set(changes)) == changes


def test_defaults_are_the_ones_the_documentation_names() -> None:
    assert PredictRequest().model_dump() == {
        "text": None,
        "texts": None,
        "top_k": None,
        "function_to_apply": "softmax",
        "truncation": "right",
        "long_text": "truncate",
        "min_score": None,
        "explain": False,
        "metadata": None,
        "subject": None,
    }
    assert RunRequest() == RunRequest(speed="auto", note=None)
    assert CorrectionAnswer.model_validate(_CORRECTION).used_by == []
    assert ErrorAnswer(error="x", code="y", request_id="z").details == {}


def test_one_wrong_text_of_a_million_costs_one_error() -> None:
    with pytest.raises(ValidationError) as caught:
        PredictRequest.model_validate({"texts": [1] * 100_000})
    assert caught.value.error_count() == 1


@given(
    st.text(), st.text(min_size=1, max_size=200), st.dictionaries(st.text(min_size=1, max_size=9), st.integers() | st.text())
)
def test_a_user_s_words_travel_unchanged(text: str, label: str, metadata: dict[str, Any]) -> None:
    body = CorrectionRequest(text=text, label=label, metadata=metadata)
    back = CorrectionRequest.model_validate_json(body.model_dump_json())
    assert (back.text, back.label, back.metadata) == (text, label, metadata)


def test_a_record_keeps_the_zone_of_its_time() -> None:
    record = PredictionRecord(
        prediction_id="p",
        created_at=now(),
        text="a",
        text_key="k",
        label="l",
        score=0.5,
        model_version="v1",
        source="head",
    )
    back = PredictionRecord.model_validate_json(record.model_dump_json())
    assert back == record
    assert back.created_at.utcoffset() == timedelta(0)


def test_now_is_in_utc_and_rises() -> None:
    first, second = now(), now()
    assert first.tzinfo is UTC
    assert first <= second


def test_live_runs_are_those_that_have_not_ended() -> None:
    assert set(LIVE_STATES) == {"queued", "running"}
    for state in ("queued", "running", "succeeded", "failed", "cancelled"):
        assert RunAnswer.model_validate(_RUN | {"state": state}).state == state
