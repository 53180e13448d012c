"""Versions as the service and the command line show them, read from the registry itself."""

from __future__ import annotations

from core.approvals import Approvals, standings
from core.errors import HoneError
from core.moves import Move, Standing
from core.registry import Aliases, Registry
from core.rollouts import Rollouts
from serve.answers import EncoderSummary, ModelAnswer, ModelsAnswer, ModelSummary, Signature, Verdict

_SHOWN_MOVES = 50
_FROM_MANIFEST = ("created_at", "labels", "features", "ngrams", "text", "temperature", "metrics", "parity", "lineage")


def list_versions(registry: Registry, most: int | None = None) -> ModelsAnswer:
    """Return the ``most`` newest versions, or all, newest first; one that cannot be read says why."""
    aliases = registry.aliases()
    newest = registry.versions()[::-1][:most]
    signed = standings(registry, newest)
    models = [_summary(registry, version, _names(aliases, version), signed.get(version)) for version in newest]
    return ModelsAnswer(models=models)


def show_version(registry: Registry, name: str) -> ModelAnswer:
    """Return everything that is known of a version or alias.

    Raises:
        UnknownVersion, BundleError: when there is none, or its manifest cannot be read.
    """
    version = registry.resolve(name)
    manifest = registry.manifest(version)
    encoder = manifest.encoder
    # The probes stay inside: they are texts, and somebody wrote them.
    return ModelAnswer(
        version=version,
        aliases=_names(registry.aliases(), version),
        encoder=EncoderSummary(**encoder.model_dump(include=set(EncoderSummary.model_fields))) if encoder else None,
        decision=registry.decision(version),
        decision_hash=registry.decision_hash(version),
        standing=registry.standing(version),
        signatures=[Signature.of(move) for move in Approvals(registry).signatures(version)],
        card=registry.card(version),
        rollouts=Rollouts(registry.root).latest(version=version),
        moves=_moves_of(registry, version),
        **{name: getattr(manifest, name) for name in _FROM_MANIFEST},
    )


def _moves_of(registry: Registry, version: str) -> list[Move]:
    """Return the latest moves that made ``version`` something, or put another in its place."""
    found = [move for move in registry.history() if version in (move.version, move.replaced)]
    return found[: -_SHOWN_MOVES - 1 : -1]


def _summary(registry: Registry, version: str, names: list[str], standing: Standing | None) -> ModelSummary:
    try:
        manifest, decision = registry.manifest(version), registry.decision(version)
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
        standing=standing,
    )


def _names(aliases: Aliases, version: str) -> list[str]:
    return [alias for alias, named in aliases.model_dump().items() if named == version]
