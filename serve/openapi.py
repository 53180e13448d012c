"""The OpenAPI document: FastAPI's, with the hot route and the bodies this service reads itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from core.schemas import CorrectionRequest, ErrorAnswer, PredictionAnswer, PredictionsAnswer, PredictRequest, RunRequest
from serve.answers import MoveRequest, PromoteRequest
from serve.routes_predict import PATH as PREDICT_PATH

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request is refused; `code` says why."},
    "5XX": {"model": ErrorAnswer, "description": "Not now, or a defect; `code` says which."},
}

_REFERENCE = "#/components/schemas/{model}"
_OWN_MODELS: Sequence[type[BaseModel]] = (
    PredictRequest,
    PredictionAnswer,
    PredictionsAnswer,
    CorrectionRequest,
    RunRequest,
    PromoteRequest,
    MoveRequest,
    ErrorAnswer,
)


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """Return the part of an operation that says its body is ``model``, for routes that read their body themselves."""
    return {"requestBody": {"required": True, "content": _json(model)}}


def document(routes: Sequence[BaseRoute], version: str) -> dict[str, Any]:
    """Return the OpenAPI document of FastAPI's ``routes`` and the hot route."""
    found = get_openapi(
        title="Hone",
        version=version,
        description="Serves a text classifier, learns from corrections, swaps in the better model without dropping a request.",
        routes=routes,
    )
    own: list[tuple[type[BaseModel], Literal["validation"]]] = [(model, "validation") for model in _OWN_MODELS]
    _, definitions = models_json_schema(own, ref_template=_REFERENCE)
    schemas: dict[str, Any] = found.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in definitions["$defs"].items():
        schemas.setdefault(name, schema)
    found["paths"] = {PREDICT_PATH: {"post": _predict()}, **found["paths"]}
    return found


def _predict() -> dict[str, Any]:
    answer = {"schema": {"anyOf": [_reference(PredictionAnswer), _reference(PredictionsAnswer)]}}
    errors = {status: {"description": entry["description"], "content": _json(ErrorAnswer)} for status, entry in ERRORS.items()}
    return {
        "tags": ["predictions"],
        "operationId": "predict",
        "summary": "Predict",
        "description": "Label one text (`text`) or several (`texts`). All predictions of one answer come from one version.",
        **takes(PredictRequest),
        "responses": {
            "200": {
                "description": "One prediction for `text`; a list in the same order for `texts`.",
                "content": {"application/json": answer},
            },
            **errors,
        },
    }


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": _reference(model)}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}
