"""``/v1/models`` and ``/v1/rollback``: versions, their cards and gate decisions, and which of them answers."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request

from core.engines import choose_engine
from core.registry import Aliases
from serve.answers import AliasesAnswer, ModelAnswer, ModelsAnswer, MoveRequest, PromoteRequest, ServingAnswer
from serve.openapi import ERRORS, takes
from serve.parsing import read_json
from serve.parts import Parts
from serve.registry_view import list_versions, show_version

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

    _add_moves(router, parts)
    return router


def _add_moves(router: APIRouter, parts: Parts) -> None:
    """Add the routes that say which version answers."""

    @router.post("/v1/models/{version}/promote", openapi_extra=takes(PromoteRequest))
    async def promote(version: str, request: Request) -> AliasesAnswer:
        """Make a version the champion, after verifying its files. Replicas swap to it within a moment."""
        move = await read_json(request.scope, request.receive, PromoteRequest, parts.settings)
        promote = parts.registry.promote
        aliases = await asyncio.to_thread(promote, version, by=move.by, why=move.why, override=move.override)
        parts.watcher.nudge()
        return _aliases(aliases)

    @router.post("/v1/models/{version}/challenge", openapi_extra=takes(PromoteRequest))
    async def challenge(version: str, request: Request) -> AliasesAnswer:
        """Make a version the challenger: it answers the share that `HONE_CANARY_RATIO` names, or is only compared."""
        move = await read_json(request.scope, request.receive, PromoteRequest, parts.settings)
        challenge = parts.registry.challenge
        aliases = await asyncio.to_thread(challenge, version, by=move.by, why=move.why, override=move.override)
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
