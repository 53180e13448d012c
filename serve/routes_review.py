"""``/v1/review``: what to ask people next."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from core.quality_bodies import ReviewAnswer, ReviewedAnswer, ReviewRequest
from core.schemas import ShortString
from serve.openapi import ERRORS, takes
from serve.parsing import read_json
from serve.parts import Parts
from serve.reviewing import answer_item, hand_out


def review_router(parts: Parts) -> APIRouter:
    """Return the routes of review."""
    router = APIRouter(tags=["review"], responses=ERRORS)

    @router.get("/v1/review")
    async def next_review(
        annotator: Annotated[ShortString, Query(description="Who is asked.")],
        limit: Annotated[int, Query(ge=1, le=100)] = 1,
    ) -> ReviewAnswer:
        """Hand out texts to look at; nobody else is asked about them for `HONE_REVIEW_LEASE_S` seconds."""
        return await hand_out(annotator, limit, parts)

    @router.post("/v1/review/{item_id}", openapi_extra=takes(ReviewRequest))
    async def answer_review(item_id: str, request: Request) -> ReviewedAnswer:
        """Say the right label, skip the item, or undo one's own answer. A label is on disk before the answer."""
        body = await read_json(request.scope, request.receive, ReviewRequest, parts.settings)
        return await answer_item(item_id, body, parts)

    return router
