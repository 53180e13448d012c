"""``/v1/runs``: asking the learner for a run, watching it, stopping it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from core.run_bodies import RunRequest
from core.schemas import RunAnswer, RunsAnswer
from feedback.store import Store
from serve.openapi import ERRORS, takes
from serve.parsing import read_json
from serve.parts import Parts


def runs_router(parts: Parts) -> APIRouter:
    """Return the routes of runs."""
    router = APIRouter(tags=["runs"], responses=ERRORS)

    @router.post("/v1/runs", status_code=202, openapi_extra=takes(RunRequest))
    async def start_run(request: Request) -> RunAnswer:
        """Queue a run, or one that resumes or repeats an earlier one; the learner takes it up when it is free."""
        body = await read_json(request.scope, request.receive, RunRequest, parts.settings)
        if body.resume is not None:
            return await parts.store.call(Store.continue_run, body.resume, "resume", body.note)
        if body.repeat is not None:
            return await parts.store.call(Store.continue_run, body.repeat, "repeat", body.note)
        return await parts.store.call(Store.create_run, body.speed, "manual", body.note, body.wish)

    @router.get("/v1/runs")
    async def list_runs(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> RunsAnswer:
        """List runs, newest first."""
        return await parts.store.call(Store.runs, limit)

    @router.get("/v1/runs/{run_id}")
    async def show_run(run_id: str) -> RunAnswer:
        """Show one run: state, progress, metrics, the version it made."""
        return await parts.store.call(Store.run, run_id)

    @router.delete("/v1/runs/{run_id}", status_code=202)
    async def stop_run(run_id: str) -> RunAnswer:
        """Stop a run: a queued one ends at once, a running one at its next look."""
        return await parts.store.call(Store.request_cancel, run_id)

    return router
