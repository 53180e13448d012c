"""``/label-studio/…``: Label Studio's ML backend. Give Label Studio this URL with that prefix, and an API key as password."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from core.errors import UnknownPrediction
from core.label_bodies import NewLabels
from core.labels import LabelSet
from core.schemas import CorrectionAnswer
from feedback.store import Store
from serve.correcting import NewLabelsQuery, accept
from serve.formats.label_studio import (
    Labelling,
    PredictTasksRequest,
    SetupRequest,
    WebhookRequest,
    as_text,
    correction_of,
    idempotency_key,
    key_prefix,
)
from serve.openapi import ERRORS, takes
from serve.parsing import check_texts, read_json
from serve.parts import Parts
from serve.predicting import Options, Query

PREFIX = "/label-studio"
_NOTE = "asked for in Label Studio"


def label_studio_router(parts: Parts) -> APIRouter:
    """Return the routes of the ML backend."""
    router = APIRouter(prefix=PREFIX, tags=["label studio"], responses=ERRORS)

    @router.get("/health")
    async def label_studio_health() -> dict[str, str]:
        """Answer 200 while the process works at all."""
        return {"status": "UP", "model_class": "Hone"}

    @router.post("/setup", openapi_extra=takes(SetupRequest))
    async def label_studio_setup(request: Request) -> dict[str, str]:
        """Check that a project fits this classifier: one Choices over a Text, with its labels as choices."""
        body = await read_json(request.scope, request.receive, SetupRequest, parts.settings)
        loaded = parts.slot.require()
        if body.label_config:
            Labelling.read(body.label_config).check(loaded.classifier.labels)
        return {"model_version": loaded.version}

    @router.post("/predict", openapi_extra=takes(PredictTasksRequest))
    async def label_studio_predict(request: Request) -> dict[str, Any]:
        """Answer tasks with pre-annotations, in their order."""
        body = await read_json(request.scope, request.receive, PredictTasksRequest, parts.settings)
        return {"results": await _predict(body, parts)}

    ignored: dict[int | str, dict[str, Any]] = {200: {"description": "An event that changes nothing here."}}

    @router.post("/webhook", openapi_extra=takes(WebhookRequest), status_code=201, responses=ignored)
    async def label_studio_webhook(request: Request, new_labels: NewLabelsQuery = "refuse") -> Response:
        """Take an event: annotations become corrections, on disk before the answer; START_TRAINING queues a run."""
        body = await read_json(request.scope, request.receive, WebhookRequest, parts.settings)
        result = await _act(body, new_labels, parts)
        if result is None:
            return JSONResponse({"status": "ignored", "result": "this event changes nothing here"})
        return JSONResponse({"status": "ok", "result": result}, 201)

    return router


async def _predict(body: PredictTasksRequest, parts: Parts) -> list[dict[str, Any]]:
    if not body.tasks:
        return []
    labelling = Labelling.read(body.label_config)
    texts = [labelling.text_of(task, place) for place, task in enumerate(body.tasks)]
    check_texts(texts, parts.settings, "tasks")
    answer = await parts.predictor.predict(Query(texts, Options(top_k=1), {"origin": "label studio"}))
    return [labelling.result(prediction, answer.version) for prediction in answer.predictions]


async def _act(body: WebhookRequest, new_labels: NewLabels, parts: Parts) -> dict[str, Any] | None:
    """Do what the event asks for and return what came of it; None of one that asks for nothing here."""
    match body.action:
        case "ANNOTATION_CREATED" | "ANNOTATION_UPDATED":
            return await _correct(body, new_labels, parts)
        case "ANNOTATION_DELETED" | "ANNOTATIONS_DELETED":
            return await _withdraw(body, parts)
        case "START_TRAINING":
            return await _start(parts)
        case _:
            return None


async def _correct(body: WebhookRequest, new_labels: NewLabels, parts: Parts) -> dict[str, Any]:
    labels = LabelSet.of((await parts.labels.allowed()).names)
    correction = correction_of(body, labels)
    if correction is None:
        emptied = body.action == "ANNOTATION_UPDATED"
        return {"correction_id": None, **(await _withdraw(body, parts) if emptied else {})}
    key = idempotency_key(body, correction)
    try:
        answer: CorrectionAnswer = await accept(correction, key, parts, new_labels)
    except UnknownPrediction:
        answer = await accept(as_text(correction, body), key, parts, new_labels)
    return {"correction_id": answer.correction_id, "kind": answer.kind}


async def _withdraw(body: WebhookRequest, parts: Parts) -> dict[str, Any]:
    gone = [annotation for annotation in (body.annotation, *body.annotations) if annotation.id is not None]
    withdrawn: list[str] = []
    for annotation in gone:
        withdrawn += await parts.store.call(Store.withdraw_corrections, key_prefix(body, annotation))
    await parts.memory.catch_up()
    return {"withdrawn": withdrawn}


async def _start(parts: Parts) -> dict[str, Any]:
    """Return the run that was queued; one that waits already will see the same corrections, so it is enough."""
    last = await parts.store.call(Store.last_run)
    if last is None or last.state != "queued":
        last = await parts.store.call(Store.create_run, parts.settings.learn_speed, "manual", _NOTE)
    return {"run_id": last.run_id, "state": last.state}
