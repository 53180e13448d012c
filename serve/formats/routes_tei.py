"""``POST /predict``, ``GET /info`` and ``GET /health``: what a client of text-embeddings-inference asks.

Its ``GET /metrics`` is Hone's own: a Prometheus server reads either, and the names differ.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response
from starlette.types import Receive, Scope

from core.release import release
from serve.formats.hot_route import HotRoute, Reply, rendered, told_in_headers
from serve.formats.tei import TeiRequest, read_inputs, render, timing_headers
from serve.openapi import ERRORS
from serve.parsing import check_texts, read_json
from serve.parts import Parts
from serve.predicting import Query

PATH = "/predict"


class TeiRoute(HotRoute):
    """Answers ``/predict``."""

    async def answer(self, scope: Scope, receive: Receive) -> Reply:
        """Return labels, best first, for one text or for each of a batch; the headers say where the time went."""
        settings = self.parts.settings
        request = await read_json(scope, receive, TeiRequest, settings)
        asked = read_inputs(request.inputs)
        check_texts(asked.texts, settings, "inputs")
        started = perf_counter()
        answer = await self.parts.predictor.predict(Query(asked.texts, request.query_options()))
        body = await rendered(answer, lambda found: render(found, batch=asked.batch))
        timing = timing_headers(answer, asked.texts, perf_counter() - started, self._device())
        return Reply(body, [*timing, *told_in_headers(answer)])

    def _device(self) -> str:
        loaded = self.parts.slot.current
        return loaded.classifier.device if loaded is not None else "cpu"


def tei_router(parts: Parts) -> APIRouter:
    """Return the routes of TEI beside ``/predict``."""
    router = APIRouter(tags=["text-embeddings-inference"], responses=ERRORS)

    @router.get("/health", response_class=Response)
    async def tei_health() -> Response:
        """Answer 200 with an empty body once a model is loaded, 503 before."""
        parts.slot.require()
        return Response()

    @router.get("/info")
    async def tei_info() -> dict[str, Any]:
        """Tell what serves and the limits, in TEI's fields; `model_sha` is the version's name."""
        return _info(parts)

    return router


def _info(parts: Parts) -> dict[str, Any]:
    loaded = parts.slot.require()
    manifest, settings = loaded.classifier.manifest, parts.settings
    encoder = manifest.encoder
    names = loaded.classifier.labels.names
    labels = {"id2label": {str(place): name for place, name in enumerate(names)}}
    return {
        "model_id": encoder.base if encoder else "n-grams",
        "model_sha": loaded.version,
        "model_dtype": encoder.serving if encoder else "float32",
        "model_type": {"classifier": {**labels, "label2id": {name: place for place, name in enumerate(names)}}},
        "max_concurrent_requests": settings.queue_max_texts,
        "max_input_length": encoder.max_tokens if encoder else settings.max_text_chars,
        "max_batch_tokens": settings.batch_max_tokens,
        "max_batch_requests": settings.batch_max_texts,
        "max_client_batch_size": settings.max_texts,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": release(),
        "sha": None,
        "docker_label": None,
    }
