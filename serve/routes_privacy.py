"""``/v1/erasures``, ``/v1/subjects`` and ``/v1/trail``: forgetting a person, telling what is kept of one, and who did what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import StreamingResponse

from core.discretion import Discretion
from core.privacy_bodies import ErasureAnswer, ErasureRequest, ErasuresAnswer, SubjectRequest, TrailAnswer, TrailProof
from feedback.erasing import answer_of, erase
from feedback.store import Store
from feedback.subject_export import export_lines
from serve.openapi import ERRORS, takes
from serve.parsing import read_json
from serve.parts import Parts

PRIVACY_BODIES = (ErasureRequest, SubjectRequest)


def privacy_router(parts: Parts) -> APIRouter:
    """Return the routes of privacy."""
    router = APIRouter(tags=["privacy"], responses=ERRORS)

    @router.post("/v1/erasures", status_code=201, openapi_extra=takes(ErasureRequest))
    async def erase_data(request: Request) -> ErasureAnswer:
        """Erase a person, or a text, from the store and all files; name the versions that had learned from it."""
        body = await read_json(request.scope, request.receive, ErasureRequest, parts.settings)
        answer = await parts.store.call(erase, parts.settings, body, actor_of(request))
        await parts.memory.catch_up()
        return answer

    @router.get("/v1/erasures")
    async def list_erasures(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> ErasuresAnswer:
        """List what was erased, newest first; versions that ended later are named too."""
        found = await parts.store.call(Store.erasures, limit)
        return ErasuresAnswer(erasures=[answer_of(erasure) for erasure in found])

    @router.get("/v1/erasures/{erasure_id}")
    async def show_erasure(erasure_id: str) -> ErasureAnswer:
        """Show one erasure."""
        return answer_of(await parts.store.call(Store.erasure, erasure_id))

    @router.post("/v1/subjects/export", openapi_extra=takes(SubjectRequest), response_class=StreamingResponse)
    async def export_subject(request: Request) -> StreamingResponse:
        """Tell all that is kept of a person: a line of JSON for each prediction and correction."""
        body = await read_json(request.scope, request.receive, SubjectRequest, parts.settings)
        subject = Discretion.of(parts.settings).pseudonym(body.subject) or ""
        # Checked and noted before the first line: a stream that has begun cannot be refused any more.
        await parts.store.call(Store.begin_subject_export, subject, actor_of(request))
        return StreamingResponse(export_lines(parts.store.call, subject), media_type="application/x-ndjson")

    @router.get("/v1/trail")
    async def list_trail(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, Query(ge=1, description="`next_before` of the page before.")] = None,
    ) -> TrailAnswer:
        """List who did what, newest first."""
        return await parts.store.call(Store.trail_entries, limit, before)

    @router.get("/v1/trail/verify")
    async def verify_trail(
        known_hash: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="A `last_hash` from before.")] = None,
    ) -> TrailProof:
        """Check that no entry of the trail was altered, removed or inserted."""
        return await parts.store.call(Store.verify_trail, known_hash)

    return router


def actor_of(request: Request) -> str:
    """Return who asks: the API key's name and id, ``local`` where requests take none."""
    return str(request.scope.get("hone.actor", "local"))
