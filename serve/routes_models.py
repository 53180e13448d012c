"""``/v1/models`` and ``/v1/rollback``: versions, their cards and gate decisions, and which of them answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

from core.approvals import Signing
from core.engines import choose_engine
from core.registry import Aliases
from feedback.approving import sign
from serve.answers import (
    AliasesAnswer,
    ApprovalAnswer,
    ApprovalRequest,
    ModelAnswer,
    ModelsAnswer,
    MoveRequest,
    PromoteRequest,
    ServingAnswer,
)
from serve.gate_page import page_of
from serve.gate_report import GateReport, report_of
from serve.model_card import ModelCard, card_of, markdown_of
from serve.openapi import ERRORS, takes
from serve.pages import HEADERS
from serve.parsing import read_json
from serve.parts import Parts
from serve.registry_view import list_versions, show_version
from serve.routes_privacy import actor_of
from serve.trailing import mark

_SHOWN = 200


def models_router(parts: Parts) -> APIRouter:
    """Return the routes of versions."""
    router = APIRouter(tags=["models"], responses=ERRORS)

    @router.get("/v1/model")
    async def show_serving() -> ServingAnswer:
        """Show the version that answers now and the engine that was chosen for it on this machine."""
        return await asyncio.to_thread(_serving, parts)

    @router.get("/v1/models")
    async def list_models() -> ModelsAnswer:
        """List the newest 200 versions, newest first."""
        return await asyncio.to_thread(list_versions, parts.registry, _SHOWN)

    @router.get("/v1/models/{version}")
    async def show_model(version: str) -> ModelAnswer:
        """Show one version, by its name or by an alias: what it is, how good, what the gate said, its card."""
        return await asyncio.to_thread(show_version, parts.registry, version)

    @router.get("/v1/models/{version}/gate")
    async def show_gate(version: str) -> GateReport:
        """Show what the gate decided on a version: rules, flips, labels and slices with their uncertainty, reliability."""
        return await asyncio.to_thread(report_of, parts.registry, version)

    @router.get("/v1/models/{version}/gate.html", response_class=Response, responses={200: {"content": {"text/html": {}}}})
    async def show_gate_page(version: str) -> Response:
        """Show the same as one page of HTML with pictures, which needs no script and no other file."""
        page = await asyncio.to_thread(lambda: page_of(report_of(parts.registry, version)))
        return Response(page, headers=HEADERS, media_type="text/html; charset=utf-8")

    @router.get("/v1/models/{version}/card")
    async def show_card(version: str) -> ModelCard:
        """Show the model card: use, data, results, slices, limits, cost, approval."""
        return await asyncio.to_thread(card_of, parts.registry, version, parts.settings)

    @router.get("/v1/models/{version}/card.md", response_class=Response, responses={200: {"content": {"text/markdown": {}}}})
    async def show_card_markdown(version: str) -> Response:
        """Show the same as Markdown."""
        text = await asyncio.to_thread(lambda: markdown_of(card_of(parts.registry, version, parts.settings)))
        return Response(text, media_type="text/markdown; charset=utf-8")

    _add_moves(router, parts)
    return router


def _add_moves(router: APIRouter, parts: Parts) -> None:
    """Add the routes that say which version answers."""

    @router.post("/v1/models/{version}/promote", openapi_extra=takes(PromoteRequest))
    async def promote(version: str, request: Request) -> AliasesAnswer:
        """Make a version the champion, after verifying its files. Replicas swap to it within a moment."""
        move = await read_json(request.scope, request.receive, PromoteRequest, parts.settings)
        aliases = await asyncio.to_thread(_use, parts.registry.promote, version, move, request, parts)
        parts.watcher.nudge()
        return _aliases(aliases)

    @router.post("/v1/models/{version}/approve", openapi_extra=takes(ApprovalRequest))
    async def approve(version: str, request: Request) -> ApprovalAnswer:
        """Sign for a version that waits for approval: promote it, or refuse it. The signature is in the audit trail first."""
        said = await read_json(request.scope, request.receive, ApprovalRequest, parts.settings)
        signing = Signing(_signer(request, said), said.reason, said.seen, said.stale)
        # An alias may name another version, or none, once this one has moved.
        named = await asyncio.to_thread(parts.registry.resolve, version)
        aliases = await parts.store.call(sign, parts.registry, named, signing, approve=said.approve)
        parts.watcher.nudge()
        return ApprovalAnswer(**aliases.model_dump(), version=named, standing="approved" if said.approve else "refused")

    @router.post("/v1/models/{version}/challenge", openapi_extra=takes(PromoteRequest))
    async def challenge(version: str, request: Request) -> AliasesAnswer:
        """Make a version the challenger: it answers the share that `HONE_CANARY_RATIO` names, or is only compared."""
        move = await read_json(request.scope, request.receive, PromoteRequest, parts.settings)
        aliases = await asyncio.to_thread(_use, parts.registry.challenge, version, move, request, parts)
        return _aliases(aliases)

    @router.post("/v1/withdraw", openapi_extra=takes(MoveRequest))
    async def withdraw(request: Request) -> AliasesAnswer:
        """Have no challenger any more; the champion answers its share too."""
        move = await read_json(request.scope, request.receive, MoveRequest, parts.settings)
        aliases = await asyncio.to_thread(parts.registry.withdraw, by=move.by, why=move.why)
        return _aliases(aliases)

    @router.post("/v1/rollback", openapi_extra=takes(MoveRequest))
    async def roll_back(request: Request) -> AliasesAnswer:
        """Make the previous champion the champion again."""
        move = await read_json(request.scope, request.receive, MoveRequest, parts.settings)
        aliases = await asyncio.to_thread(parts.registry.rollback, by=move.by, why=move.why)
        parts.watcher.nudge()
        return _aliases(aliases)


def _use(act: Callable[..., Aliases], name: str, move: PromoteRequest, request: Request, parts: Parts) -> Aliases:
    """Promote a version, or let it challenge; where that went against the gate, the trail says so."""
    version = parts.registry.resolve(name)
    aliases = act(version, by=move.by, why=move.why, override=move.override)
    last = parts.registry.moves_of(version)[-1:]
    if move.override and last and last[0].override:
        details = {"decision_hash": last[0].seen, "reason": move.why, "by": move.by, "act": last[0].action}
        mark(request.scope, "override", version, details)
    return aliases


def _signer(request: Request, said: ApprovalRequest) -> str:
    """Return who signs: the API key's name and id, else who they say they are."""
    actor = actor_of(request)
    return f"{said.by} ({actor})" if actor == "local" and said.by else actor


def _serving(parts: Parts) -> ServingAnswer:
    loaded = parts.slot.require()
    manifest, settings = loaded.classifier.manifest, parts.settings
    folder = parts.registry.path(loaded.version)
    return ServingAnswer(
        version=loaded.version,
        source=loaded.source,
        labels=len(manifest.labels),
        features=manifest.features,
        max_tokens=manifest.encoder.max_tokens if manifest.encoder else None,
        engine=choose_engine(folder, manifest, threads=settings.engine_threads, cache=settings.home.cache),
        parity=manifest.parity,
        batch_max_texts=settings.batch_max_texts,
        batch_max_tokens=settings.batch_max_tokens,
    )


def _aliases(aliases: Aliases) -> AliasesAnswer:
    return AliasesAnswer(**aliases.model_dump())
