"""``/v1/drift``: whether traffic is still what the champion was measured on, and why not."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from core.drift_bodies import AcknowledgeRequest, DriftAlarm, DriftAnswer, DriftReference, DriftWhy, ReferenceRequest
from core.errors import NoModel
from feedback.drift_report import drift_of, why_of
from feedback.store import Store
from serve.drift_page import page_of
from serve.openapi import ERRORS, takes
from serve.pages import HEADERS
from serve.parsing import read_json
from serve.parts import Parts
from serve.routes_privacy import actor_of


def drift_router(parts: Parts) -> APIRouter:
    """Return the routes of drift."""
    router = APIRouter(tags=["quality"], responses=ERRORS)

    @router.get("/v1/drift")
    async def drift(limit: Annotated[int, Query(ge=1, le=500)] = 50) -> DriftAnswer:
        """Tell the newest windows of answers, what each detector said of them, and the alarms."""
        return await parts.store.call(drift_of, parts.settings, limit)

    @router.get("/v1/drift/{window_id}/why")
    async def drift_why(window_id: str) -> DriftWhy:
        """Show the classes, words, slices and texts that moved most; what was erased since is not among them."""
        return await parts.store.call(why_of, parts.settings, window_id)

    @router.get("/v1/drift/{window_id}/why.html", response_class=Response, responses={200: {"content": {"text/html": {}}}})
    async def drift_page(window_id: str) -> Response:
        """Show the same as one page of HTML with pictures, which needs no script and no other file."""
        report = await parts.store.call(why_of, parts.settings, window_id)
        return Response(await asyncio.to_thread(page_of, report), headers=HEADERS, media_type="text/html; charset=utf-8")

    @router.post("/v1/drift/reference", openapi_extra=takes(ReferenceRequest))
    async def set_reference(request: Request) -> DriftReference:
        """Say with what the champion's traffic is compared from now on: one of its windows, or its own held-out rows again."""
        body = await read_json(request.scope, request.receive, ReferenceRequest, parts.settings)
        champion = await asyncio.to_thread(lambda: parts.registry.aliases().champion)
        if champion is None:
            raise NoModel("there is no champion whose traffic could be compared")
        return await parts.store.call(Store.set_drift_reference, champion, body, actor_of(request))

    @router.post("/v1/drift/alarms/{alarm_id}", openapi_extra=takes(AcknowledgeRequest))
    async def acknowledge_alarm(alarm_id: str, request: Request) -> DriftAlarm:
        """Take note of an alarm: no run is started because of it, and the same drift raises no other unless it grows."""
        body = await read_json(request.scope, request.receive, AcknowledgeRequest, parts.settings)
        return await parts.store.call(Store.acknowledge_drift_alarm, alarm_id, body)

    return router
