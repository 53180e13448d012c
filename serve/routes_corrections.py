"""``/v1/corrections``: what people say about answers; durable before it is acknowledged."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import StreamingResponse

from core.correction_bodies import ChangeRequest, ConfirmationRequest, CorrectionRow, WithdrawalRequest
from core.schemas import CorrectionAnswer, CorrectionRequest, CorrectionsAnswer, ShortString
from feedback.exporting import ExportFormat
from feedback.store import Store
from serve.bulk import take_bulk
from serve.correcting import NewLabelsQuery, accept, change, confirm
from serve.correction_checks import check_words
from serve.exporting import export
from serve.openapi import ERRORS, takes, takes_lines
from serve.parsing import read_json
from serve.parts import Parts
from serve.streams import BULK_PATH, EXPORT_PATH

Key = Annotated[
    str | None,
    Header(
        alias="idempotency-key",
        description="1 to 200 visible ASCII characters; the same correction sent again counts once.",
    ),
]
Limit = Annotated[int, Query(ge=1, le=1000)]
Before = Annotated[ShortString | None, Query(description="`next_before` of the page before.")]
Format = Annotated[ExportFormat, Query(alias="format", description="How rows are written.")]


def corrections_router(parts: Parts) -> APIRouter:
    """Return the routes of corrections, one at a time and many."""
    router = APIRouter(tags=["corrections"], responses=ERRORS)
    _add_taking(router, parts)
    _add_many(router, parts)
    _add_revising(router, parts)
    return router


def _add_taking(router: APIRouter, parts: Parts) -> None:
    @router.post("/v1/corrections", status_code=201, openapi_extra=takes(CorrectionRequest))
    async def add_correction(request: Request, key: Key = None, new_labels: NewLabelsQuery = "refuse") -> CorrectionAnswer:
        """Correct or confirm a prediction, or say the right label of a text. It is on disk before the answer."""
        correction = await read_json(request.scope, request.receive, CorrectionRequest, parts.settings)
        return await accept(correction, key, parts, new_labels)

    @router.post("/v1/confirmations", status_code=201, openapi_extra=takes(ConfirmationRequest))
    async def confirm_prediction(request: Request, key: Key = None) -> CorrectionAnswer:
        """Say that a prediction was right, without repeating its label."""
        said = await read_json(request.scope, request.receive, ConfirmationRequest, parts.settings)
        return await confirm(said, key, parts)

    @router.get("/v1/corrections")
    async def list_corrections(limit: Limit = 100, before: Before = None) -> CorrectionsAnswer:
        """List corrections and confirmations, newest first, with the versions that learned from each."""
        return await parts.store.call(Store.corrections, limit, before)


def _add_many(router: APIRouter, parts: Parts) -> None:
    @router.post(BULK_PATH, openapi_extra=takes_lines(CorrectionRow), response_class=StreamingResponse)
    async def add_corrections(request: Request, key: Key = None, new_labels: NewLabelsQuery = "refuse") -> StreamingResponse:
        """Take corrections, one JSON object a line, and answer with a line for each and a last one with sums.

        Rows that are refused lose no others. Rows are on disk a few hundred at a time; the reports come when the body was read.
        """
        return await take_bulk(request, key, new_labels, parts)

    @router.get(EXPORT_PATH, response_class=StreamingResponse)
    async def export_corrections(written_as: Format = "jsonl") -> StreamingResponse:
        """Stream all corrections and confirmations, oldest first, withdrawn ones marked."""
        return await export(written_as, parts)


def _add_revising(router: APIRouter, parts: Parts) -> None:
    @router.get("/v1/corrections/{correction_id}")
    async def show_correction(correction_id: str) -> CorrectionAnswer:
        """Show one correction and what has become of it."""
        return await parts.store.call(Store.correction, correction_id)

    @router.post("/v1/corrections/{correction_id}/withdraw", openapi_extra=takes(WithdrawalRequest))
    async def withdraw_correction(correction_id: str, request: Request) -> CorrectionAnswer:
        """Take a correction back: it stays in the list, marked, and later runs do not learn from it."""
        withdrawal = await read_json(request.scope, request.receive, WithdrawalRequest, parts.settings)
        check_words(withdrawal.annotator, None)
        answer = await parts.store.call(Store.withdraw_correction, correction_id, withdrawal)
        await parts.memory.catch_up()
        return answer

    @router.post("/v1/corrections/{correction_id}/change", status_code=201, openapi_extra=takes(ChangeRequest))
    async def change_correction(
        correction_id: str, request: Request, key: Key = None, new_labels: NewLabelsQuery = "refuse"
    ) -> CorrectionAnswer:
        """Say something else of the same text: a new correction that stands in the place of this one."""
        said = await read_json(request.scope, request.receive, ChangeRequest, parts.settings)
        return await change(correction_id, said, key, parts, new_labels)
