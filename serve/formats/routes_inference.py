"""``/v2/…``: the Open Inference Protocol over HTTP, as tritonclient and KServe's clients speak it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any

from fastapi import APIRouter
from starlette.types import Receive, Scope

from core.errors import NotFound, UnsupportedMediaType
from core.release import release
from serve.formats.hot_route import HotRoute, Reply, told_in_headers
from serve.formats.inference import MODEL_NAME, Asked, InferenceRequest, metadata, render, understand
from serve.formats.tensors import HEADER_LENGTH, header_length, split
from serve.openapi import ERRORS
from serve.parsing import check_headers, check_texts, parse_json, read_body
from serve.parts import Parts
from serve.predicting import INLINE_SCORES, Predictions, Query
from serve.swap import Loaded

PATHS = ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")

_WHICHEVER = "champion"
# tritonclient names no media type, whatever it sends.
_MEDIA_TYPES: Sequence[str] = (
    "application/json",
    "application/octet-stream",
    "application/vnd.sagemaker-triton.binary+json",
    "",
)


class InferenceRoute(HotRoute):
    """Answers ``infer``."""

    async def answer(self, scope: Scope, receive: Receive) -> Reply:
        """Return the outputs asked for, in JSON or as binary tensors behind it."""
        settings = self.parts.settings
        version = self._named(scope)
        headers = scope["headers"]
        check_headers(headers, settings.max_body_bytes, _MEDIA_TYPES)
        _refuse_pages(headers)
        body = await read_body(receive, settings.max_body_bytes)
        scope["hone.started"] = perf_counter()
        head, binary = split(body, header_length(headers))
        asked = understand(parse_json(head, InferenceRequest), binary)
        check_texts(asked.texts, settings, "inputs")
        answer = await self.parts.predictor.predict(Query(asked.texts, asked.options(), version=version))
        return await self._reply(asked, answer)

    def _named(self, scope: Scope) -> str | None:
        """Return the version the path insists on, None where any will do."""
        names = scope["path_params"]
        named = names.get("version")
        loaded = find(self.parts, names["model"], named)
        return None if named in (None, _WHICHEVER) else loaded.version

    async def _reply(self, asked: Asked, answer: Predictions) -> Reply:
        if len(answer.predictions) * len(answer.predictions[0].scores) > INLINE_SCORES:
            body, json_bytes = await asyncio.to_thread(render, asked, answer)
        else:
            body, json_bytes = render(asked, answer)
        headers = told_in_headers(answer)
        if json_bytes is None:
            return Reply(body, headers)
        return Reply(body, [*headers, (HEADER_LENGTH, b"%d" % json_bytes)], b"application/octet-stream")


def inference_router(parts: Parts) -> APIRouter:
    """Return the protocol's routes beside ``infer``."""
    router = APIRouter(tags=["open inference protocol"], responses=ERRORS)

    @router.get("/v2")
    async def server_metadata() -> dict[str, Any]:
        """Tell who this is."""
        return {"name": "hone", "version": release(), "extensions": ["binary_tensor_data", "classification"]}

    @router.get("/v2/health/live")
    async def server_live() -> dict[str, bool]:
        """Answer 200 while the process works at all."""
        return {"live": True}

    @router.get("/v2/health/ready")
    async def server_ready() -> dict[str, bool]:
        """Answer 200 once a model is loaded, 503 before."""
        parts.slot.require()
        return {"ready": True}

    @router.get("/v2/models/{model}")
    async def model_metadata(model: str) -> dict[str, Any]:
        """Tell the inputs and outputs; the one model is called `hone`."""
        return _metadata(find(parts, model, None))

    @router.get("/v2/models/{model}/versions/{version}")
    async def model_version_metadata(model: str, version: str) -> dict[str, Any]:
        """Tell the inputs and outputs of a version, which must be the one that serves."""
        return _metadata(find(parts, model, version))

    @router.get("/v2/models/{model}/ready")
    async def model_ready(model: str) -> dict[str, bool]:
        """Answer 200 once the model is loaded."""
        find(parts, model, None)
        return {"ready": True}

    @router.get("/v2/models/{model}/versions/{version}/ready")
    async def model_version_ready(model: str, version: str) -> dict[str, bool]:
        """Answer 200 while that version serves."""
        find(parts, model, version)
        return {"ready": True}

    return router


def find(parts: Parts, model: str, version: str | None) -> Loaded:
    """Return what serves, which must be ``model`` and, unless None, ``version``.

    Raises:
        NotFound: there is no such model.
        UnknownVersion: another version serves.
    """
    if model != MODEL_NAME:
        raise NotFound(f"there is no such model; the one here is {MODEL_NAME}", allowed=[MODEL_NAME])
    return parts.slot.require() if version in (None, _WHICHEVER) else parts.slot.answering(version)


def _metadata(loaded: Loaded) -> dict[str, Any]:
    return metadata(loaded.version, loaded.classifier.labels.names)


def _refuse_pages(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise for what a foreign web page could send without having asked: a body of no media type of its own choice."""
    names = {name for name, _ in headers}
    if b"origin" in names and not names & {b"content-type", HEADER_LENGTH}:
        raise UnsupportedMediaType("the Content-Type must be application/json", allowed=["application/json"])
