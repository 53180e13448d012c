"""``/v1/labels``: how labels stand, and what operators decide about them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from core.label_bodies import LabelEvent, LabelEventRequest, LabelEventsAnswer, LabelsAnswer
from feedback.store import Store
from serve.label_answers import label_summaries
from serve.openapi import ERRORS, takes
from serve.parsing import read_json
from serve.parts import Parts


def labels_router(parts: Parts) -> APIRouter:
    """Return the routes of labels."""
    router = APIRouter(tags=["labels"], responses=ERRORS)

    @router.get("/v1/labels")
    async def list_labels() -> LabelsAnswer:
        """List the champion's labels and those that were proposed, accepted, turned down, merged, renamed or retired."""
        loaded = parts.slot.require()
        book = await parts.store.call(Store.label_book)
        backing = await parts.store.call(Store.backing, book.proposed)
        return LabelsAnswer(
            model_version=loaded.version,
            labels=label_summaries(book, loaded.classifier.labels.names, backing),
            texts_needed=parts.settings.label_min_texts,
            annotators_needed=parts.settings.label_min_annotators,
        )

    @router.get("/v1/labels/events")
    async def list_label_events(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, Query(ge=1, le=2**62, description="`next_before` of the page before.")] = None,
    ) -> LabelEventsAnswer:
        """List decisions about labels, newest first."""
        return await parts.store.call(Store.label_events, limit, before)

    @router.post("/v1/labels/events", status_code=201, openapi_extra=takes(LabelEventRequest))
    async def decide_label(request: Request) -> LabelEvent:
        """Accept or reject a proposal, merge, rename or retire a label; the next run honours it."""
        decision = await read_json(request.scope, request.receive, LabelEventRequest, parts.settings)
        known = parts.slot.require().classifier.labels.names
        event = await parts.store.call(Store.decide_label, decision, known)
        await parts.labels.allowed(fresh=True)
        await parts.memory.catch_up()
        return event

    return router
