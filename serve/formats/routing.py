"""Where the formats meet the application: their routes, and what the OpenAPI document says of those that are not FastAPI's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.routing import BaseRoute, Route

from serve.formats import routes_hugging_face, routes_inference, routes_tei
from serve.formats.hugging_face import HuggingFaceRequest
from serve.formats.inference import InferenceAnswer, InferenceRequest
from serve.formats.label_studio import PredictTasksRequest, SetupRequest, WebhookRequest
from serve.formats.routes_hugging_face import HuggingFaceRoute
from serve.formats.routes_inference import InferenceRoute, inference_router
from serve.formats.routes_label_studio import label_studio_router
from serve.formats.routes_tei import TeiRoute, tei_router
from serve.formats.tei import TeiError, TeiRequest
from serve.openapi import HotOperation
from serve.parts import Parts

_LABEL = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "score": {"type": "number"}},
    "required": ["label", "score"],
}
_LABELS: dict[str, Any] = {"type": "array", "items": _LABEL}
_ROWS: dict[str, Any] = {"type": "array", "items": _LABELS}


FORMAT_BODIES: Sequence[type[BaseModel]] = (SetupRequest, PredictTasksRequest, WebhookRequest)
"""Bodies that :func:`format_routers` read themselves, so that FastAPI does not know them."""


def hot_routes(parts: Parts) -> list[BaseRoute]:
    """Return the predicting routes of all formats."""
    routes: list[BaseRoute] = []
    for path in routes_hugging_face.PATHS:
        # GET / is the console's, so this one must not answer it.
        methods = ["POST"] if path == "/" else None
        routes.append(Route(path, HuggingFaceRoute(path, parts), methods=methods))
    routes.append(Route(routes_tei.PATH, TeiRoute(routes_tei.PATH, parts)))
    routes += [Route(path, InferenceRoute(path, parts)) for path in routes_inference.PATHS]
    return routes


def format_routers(parts: Parts) -> Sequence[APIRouter]:
    """Return the other routes of all formats."""
    return tei_router(parts), inference_router(parts), label_studio_router(parts)


def hot_operations() -> list[HotOperation]:
    """Return what the OpenAPI document says of :func:`hot_routes`."""
    hugging_face = [
        HotOperation(
            path=path,
            name=f"hugging_face{path.replace('/', '_').rstrip('_')}",
            tag="hugging face",
            description="Hugging Face's text-classification: a list of labels for each text, also for one.",
            takes=HuggingFaceRequest,
            gives=_ROWS,
        )
        for path in routes_hugging_face.PATHS
    ]
    tei = HotOperation(
        path=routes_tei.PATH,
        name="tei_predict",
        tag="text-embeddings-inference",
        description="text-embeddings-inference's predict: all labels, best first; a list of such lists for a batch.",
        takes=TeiRequest,
        gives={"anyOf": [_LABELS, _ROWS]},
        error=TeiError,
    )
    inference = [
        HotOperation(
            path=path,
            name="infer_version" if "{version}" in path else "infer",
            tag="open inference protocol",
            # Binary tensors are left out: a second media type is more than generators of clients can do.
            description="Open Inference Protocol: one tensor of texts in; label, score, prediction_id or scores out. With the "
            "header `Inference-Header-Content-Length` the tensors may be binary, as tritonclient sends them.",
            takes=InferenceRequest,
            gives=InferenceAnswer,
        )
        for path in routes_inference.PATHS
    ]
    return [*hugging_face, tei, *inference]
