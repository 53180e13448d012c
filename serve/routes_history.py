"""``/v1/history``: what was answered in the last hours, and what happened meanwhile."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from core.history_bodies import HistoryAnswer
from core.schemas import now
from feedback.traffic import KEPT
from serve.history import history_of
from serve.openapi import ERRORS
from serve.parts import Parts

_MOST_MINUTES = int(KEPT.total_seconds() // 60)


def history_router(parts: Parts) -> APIRouter:
    """Return the route of recent history."""
    router = APIRouter(tags=["operating"], responses=ERRORS)

    @router.get("/v1/history")
    async def history(minutes: Annotated[int, Query(ge=1, le=_MOST_MINUTES)] = 60) -> HistoryAnswer:
        """Tell traffic, refusals and latency of all replicas over the last minutes, with swaps, runs and alarms."""
        ended_at = now()
        return await parts.store.call(history_of, parts.registry, ended_at - timedelta(minutes=minutes), ended_at)

    return router
