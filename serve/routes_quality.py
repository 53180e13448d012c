"""``/v1/annotators``, ``/v1/quarantine``, ``/v1/accuracy``: whom and what to rely on, and why."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from core.quality_bodies import (
    AccuraciesAnswer,
    AnnotatorsAnswer,
    ReleaseAnswer,
    ReleaseRequest,
    SuspicionAnswer,
    SuspicionDecision,
    SuspicionsAnswer,
    SuspicionState,
)
from core.schemas import ShortString
from feedback.annotators import annotators_of
from feedback.live_accuracy import live_accuracy_of
from feedback.store import Store
from serve.openapi import ERRORS, takes
from serve.parsing import read_json
from serve.parts import Parts


def quality_router(parts: Parts) -> APIRouter:
    """Return the routes of quality."""
    router = APIRouter(tags=["quality"], responses=ERRORS)

    @router.get("/v1/annotators")
    async def list_annotators() -> AnnotatorsAnswer:
        """List annotators, the most reliable first, with how far they agree with each other."""
        return await parts.store.call(annotators_of, parts.settings.suspect_contrary_ratio)

    @router.get("/v1/accuracy")
    async def live_accuracy() -> AccuraciesAnswer:
        """Estimate how often each version is right on live traffic, from the predictions that chance put up for review."""
        return await parts.store.call(live_accuracy_of)

    @router.get("/v1/quarantine")
    async def list_quarantine(
        state: SuspicionState = "quarantined",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[ShortString | None, Query(description="`next_before` of the page before.")] = None,
    ) -> SuspicionsAnswer:
        """List corrections that are held back from training, with every reason."""
        return await parts.store.call(Store.quarantined, state, limit, before)

    @router.post("/v1/quarantine/{correction_id}", openapi_extra=takes(SuspicionDecision))
    async def decide_correction(correction_id: str, request: Request) -> SuspicionAnswer:
        """Release a correction to the next run, or uphold the suspicion for good."""
        body = await read_json(request.scope, request.receive, SuspicionDecision, parts.settings)
        answer = await parts.store.call(Store.decide_suspicion, correction_id, body)
        await parts.memory.catch_up()
        return answer

    @router.post("/v1/quarantine", openapi_extra=takes(ReleaseRequest))
    async def decide_annotator(request: Request) -> ReleaseAnswer:
        """Take one decision on all that is quarantined of one annotator."""
        body = await read_json(request.scope, request.receive, ReleaseRequest, parts.settings)
        decision = SuspicionDecision(decision=body.decision, by=body.by, why=body.why)
        decided = await parts.store.call(Store.decide_suspicions, body.annotator, decision)
        await parts.memory.catch_up()
        return ReleaseAnswer(corrections=decided)

    return router
