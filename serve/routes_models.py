"""``/v1/models`` and ``/v1/rollback``: versions, their cards and gate decisions, and which of them answers."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request

from core.bundle import CARD
from core.engines import choose_engine
from core.errors import HoneError
from core.registry import Aliases, Registry
from core.rollouts import Rollouts
from serve.answers import (
    AliasesAnswer,
    EncoderSummary,
    ModelAnswer,
    ModelsAnswer,
    ModelSummary,
    MoveRequest,
    PromoteRequest,
    ServingAnswer,
    Verdict,
)
from serve.openapi import ERRORS, takes
from serve.parsing import read_json
from serve.parts import Parts

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
        return await asyncio.to_thread(_list, parts.registry)

    @router.get("/v1/models/{version}")
    async def show_model(version: str) -> ModelAnswer:
        """Show one version, by its name or by an alias: what it is, how good, what the gate said, its card."""
        return await asyncio.to_thread(_show, parts.registry, parts.rollouts, version)

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

    return router


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


def _list(registry: Registry) -> ModelsAnswer:
    aliases = registry.aliases()
    newest = registry.versions()[: -_SHOWN - 1 : -1]
    return ModelsAnswer(models=[_summary(registry, version, _names(aliases, version)) for version in newest])


def _summary(registry: Registry, version: str, names: list[str]) -> ModelSummary:
    try:
        manifest = registry.manifest(version)
        decision = registry.decision(version)
    except HoneError as error:
        return ModelSummary(version=version, aliases=names, problem=error.message)
    return ModelSummary(
        version=version,
        aliases=names,
        created_at=manifest.created_at,
        speed=manifest.lineage.speed,
        features=manifest.features,
        parent=manifest.lineage.parent,
        labels=len(manifest.labels),
        metrics=manifest.metrics,
        gate=Verdict(promote=decision.promote, summary=decision.summary) if decision else None,
    )


def _show(registry: Registry, rollouts: Rollouts, name: str) -> ModelAnswer:
    version = registry.resolve(name)
    manifest = registry.manifest(version)
    encoder = manifest.encoder
    card = registry.path(version) / CARD
    # The probes stay inside: they are texts, and somebody wrote them.
    return ModelAnswer(
        version=version,
        aliases=_names(registry.aliases(), version),
        encoder=EncoderSummary(**encoder.model_dump(include=set(EncoderSummary.model_fields))) if encoder else None,
        decision=registry.decision(version),
        card=card.read_text(encoding="utf-8") if card.is_file() else None,
        rollouts=rollouts.latest(version=version),
        **{name: getattr(manifest, name) for name in _FROM_MANIFEST},
    )


_FROM_MANIFEST = ("created_at", "labels", "features", "ngrams", "text", "temperature", "metrics", "parity", "lineage")


def _names(aliases: Aliases, version: str) -> list[str]:
    return [alias for alias, named in aliases.model_dump().items() if named == version]


def _aliases(aliases: Aliases) -> AliasesAnswer:
    return AliasesAnswer(**aliases.model_dump())
