"""The OpenAPI document: FastAPI's, with the hot route and the bodies this service reads itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from core.correction_bodies import BulkSummary, ChangeRequest, ConfirmationRequest, CorrectionRow, RowReport, WithdrawalRequest
from core.drift_bodies import AcknowledgeRequest, ReferenceRequest
from core.label_bodies import LabelEventRequest
from core.quality_bodies import ReleaseRequest, ReviewRequest, SuspicionDecision
from core.run_bodies import RunRequest
from core.schemas import CorrectionRequest, ErrorAnswer, PredictionAnswer, PredictionsAnswer, PredictRequest
from serve.answers import ApprovalRequest, MoveRequest, PromoteRequest
from serve.routes_predict import PATH as PREDICT_PATH

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request is refused; `code` says why."},
    "5XX": {"model": ErrorAnswer, "description": "Not now, or a defect; `code` says which."},
}

NDJSON = "application/x-ndjson"

_REFERENCE = "#/components/schemas/{model}"
_OWN_MODELS: Sequence[type[BaseModel]] = (
    PredictRequest,
    PredictionAnswer,
    PredictionsAnswer,
    CorrectionRequest,
    CorrectionRow,
    RowReport,
    BulkSummary,
    ChangeRequest,
    ConfirmationRequest,
    WithdrawalRequest,
    LabelEventRequest,
    AcknowledgeRequest,
    ReferenceRequest,
    ReleaseRequest,
    ReviewRequest,
    SuspicionDecision,
    RunRequest,
    PromoteRequest,
    ApprovalRequest,
    MoveRequest,
    ErrorAnswer,
)


@dataclass(frozen=True)
class HotOperation:
    """A ``POST`` on ``path`` that FastAPI does not know."""

    path: str
    name: str
    tag: str
    description: str
    takes: type[BaseModel]
    gives: type[BaseModel] | dict[str, Any]
    error: type[BaseModel] = ErrorAnswer

    @property
    def models(self) -> list[type[BaseModel]]:
        """The models to define in the document."""
        return [model for model in (self.takes, self.gives, self.error) if isinstance(model, type)]

    def render(self) -> dict[str, Any]:
        """Return the operation as the document has it."""
        answer = _json(self.gives) if isinstance(self.gives, type) else {"application/json": {"schema": self.gives}}
        parts = [part[1:-1] for part in self.path.split("/") if part.startswith("{")]
        parameters = [{"name": part, "in": "path", "required": True, "schema": {"type": "string"}} for part in parts]
        errors = {
            status: {"description": entry["description"], "content": _json(self.error)} for status, entry in ERRORS.items()
        }
        return {
            "tags": [self.tag],
            "operationId": self.name,
            "summary": self.name.replace("_", " ").capitalize(),
            "description": self.description,
            **({"parameters": parameters} if parameters else {}),
            **takes(self.takes),
            "responses": {"200": {"description": "The answer.", "content": answer}, **errors},
        }


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """Return the part of an operation that says its body is ``model``, for routes that read their body themselves."""
    return {"requestBody": {"required": True, "content": _json(model)}}


def takes_lines(model: type[BaseModel]) -> dict[str, Any]:
    """Return the part of an operation that says its body is one ``model`` a line."""
    return {"requestBody": {"required": True, "content": {NDJSON: {"schema": _reference(model)}}}}


def document(
    routes: Sequence[BaseRoute], version: str, hot: Sequence[HotOperation], bodies: Sequence[type[BaseModel]]
) -> dict[str, Any]:
    """Return the OpenAPI document of FastAPI's ``routes``, which read ``bodies``, the native hot route and those of ``hot``."""
    found = get_openapi(
        title="Hone",
        version=version,
        description="Serves a text classifier, learns from corrections, swaps in the better model without dropping a request.",
        routes=routes,
    )
    own: list[tuple[type[BaseModel], Literal["validation"]]] = [(model, "validation") for model in (*_OWN_MODELS, *bodies)]
    own += [(model, "validation") for operation in hot for model in operation.models]
    _, definitions = models_json_schema(own, ref_template=_REFERENCE)
    schemas: dict[str, Any] = found.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in definitions["$defs"].items():
        schemas.setdefault(name, schema)
    found["paths"] = {PREDICT_PATH: {"post": _predict()}, **found["paths"]}
    for operation in hot:
        found["paths"].setdefault(operation.path, {})["post"] = operation.render()
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
