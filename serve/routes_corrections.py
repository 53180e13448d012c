"""``/v1/corrections``: what people say about answers; durable before it is acknowledged."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request

from core.schemas import CorrectionAnswer, CorrectionRequest, CorrectionsAnswer, ShortString
from feedback.store import Store
from serve.correcting import accept
from serve.openapi import ERRORS, takes
from serve.parsing import read_json
from serve.parts import Parts


def corrections_router(parts: Parts) -> APIRouter:
    """Return the routes of corrections."""
    router = APIRouter(tags=["corrections"], responses=ERRORS)

    @router.post("/v1/corrections", status_code=201, openapi_extra=takes(CorrectionRequest))
    async def add_correction(
        request: Request,
        idempotency_key: Annotated[
            str | None, Header(description="1 to 200 visible ASCII characters; the same correction sent again counts once.")
        ] = None,
    ) -> CorrectionAnswer:
        """Correct or confirm a prediction, or say the right label of a text. It is on disk before the answer."""
        correction = await read_json(request.scope, request.receive, CorrectionRequest, parts.settings)
        return await accept(correction, idempotency_key, parts)

    @router.get("/v1/corrections")
    async def list_corrections(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[ShortString | None, Query(description="`next_before` of the page before.")] = None,
    ) -> CorrectionsAnswer:
        """List corrections and confirmations, newest first, with the versions that learned from each."""
        return await parts.store.call(Store.corrections, limit, before)

    return router
