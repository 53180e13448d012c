"""Operating: liveness, readiness, status, metrics."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from core.errors import StoreUnavailable
from core.schemas import Wire
from feedback.corrections import Outcomes
from feedback.prediction_log import PredictionLog
from serve.answers import LiveAccuracy, MemoryStatus, PredictionCounts, ReplicaStatus, Rollout, StatusAnswer
from serve.heartbeat import own_report
from serve.node_metrics import TargetGroup
from serve.openapi import ERRORS
from serve.parts import Parts
from serve.rollout_status import challenger_status, probation_status
from serve.store_view import StoreView, read_view

# A status is wanted most when something is wrong, so it does not wait for what is.
_STORE_TIMEOUT_S = 2.0
_SHOWN_ROLLOUTS = 20


class Health(Wire):
    """Answer of the probes."""

    status: str
    model_version: str | None = None


def status_router(parts: Parts) -> APIRouter:
    """Return the routes operators and probes use."""
    router = APIRouter(tags=["operating"], responses=ERRORS)

    @router.get("/healthz")
    async def alive() -> Health:
        """Answer 200 while the process works at all."""
        return Health(status="ok")

    @router.get("/readyz")
    async def ready() -> Health:
        """Answer 200 once a model is loaded, 503 before."""
        return Health(status="ready", model_version=parts.slot.require().version)

    @router.get("/v1/status")
    async def status() -> StatusAnswer:
        """Tell what serves, how every replica fares, and what people and the learner did last."""
        return await _status(parts)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics(node: Annotated[str | None, Query(max_length=64)] = None) -> Response:
        """All metrics in the Prometheus text format, of all processes or of those on one node; docs/metrics.md lists them."""
        body = await parts.node_metrics.exposition(node)
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/v1/metrics/targets")
    async def metric_targets(request: Request) -> list[TargetGroup]:
        """Name one target for each node, as Prometheus's HTTP service discovery reads it."""
        return await parts.node_metrics.targets(request.headers.get("host", ""), parts.settings.route_prefix)

    return router


async def _status(parts: Parts) -> StatusAnswer:
    try:
        async with asyncio.timeout(_STORE_TIMEOUT_S):
            view = await parts.store.call(read_view)
    except (StoreUnavailable, TimeoutError):
        view = None
    rollouts = await asyncio.to_thread(parts.rollouts.latest, limit=_SHOWN_ROLLOUTS)
    slot = parts.slot
    current, refusal = slot.current, slot.refusal
    return StatusAnswer(
        replica_id=parts.replica_id,
        started_at=parts.started_at,
        ingress=parts.settings.ingress,
        model_version=current.version if current else None,
        source=current.source if current else None,
        labels=list(current.classifier.labels) if current else [],
        loading=slot.candidate,
        rollout_failure=Rollout(**asdict(refusal)) if refusal else None,
        probation=probation_status(slot),
        challenger=challenger_status(slot, parts.settings),
        rollouts=rollouts,
        memory=_memory(parts),
        waiting_texts=parts.batcher.waiting_texts,
        queue_max_texts=parts.settings.queue_max_texts,
        predictions=_counts(parts.log),
        store_up=view is not None,
        replicas=_replicas(parts, view),
        corrections=view.corrections if view else None,
        confirmations=view.confirmations if view else None,
        last_run=view.last_run if view else None,
        outlook=view.outlook if view else None,
        live_accuracy=[_accuracy(version, found) for version, found in sorted(view.outcomes.items())] if view else [],
    )


def _memory(parts: Parts) -> MemoryStatus:
    fill, current = parts.memory.fill, parts.slot.current
    nearness = current.classifier.manifest.nearness if current is not None else None
    return MemoryStatus(
        answers=fill.answers,
        learned=fill.learned,
        waiting=fill.waiting,
        max_entries=parts.settings.memory_entries,
        near_similarity=nearness.similarity if nearness is not None else None,
    )


def _counts(log: PredictionLog | None) -> PredictionCounts:
    return PredictionCounts(written=log.written, spooled=log.spooled, dropped=log.dropped) if log else PredictionCounts()


def _replicas(parts: Parts, view: StoreView | None) -> list[ReplicaStatus]:
    """Return the last reports of all replicas; this one's is as fresh as can be."""
    own = own_report(parts)
    others = [report for report in view.replicas if report.replica_id != own.replica_id] if view else []
    reports = sorted([own, *others], key=lambda report: report.replica_id)
    return [ReplicaStatus(**asdict(report)) for report in reports]


def _accuracy(version: str, outcomes: Outcomes) -> LiveAccuracy:
    total = outcomes.right + outcomes.wrong
    return LiveAccuracy(version=version, right=outcomes.right, wrong=outcomes.wrong, accuracy=outcomes.right / total)
