"""Versions as the service shows them, read from the registry itself."""

from __future__ import annotations

from core.bundle import CARD
from core.errors import HoneError
from core.registry import Registry
from core.rollouts import Rollouts
from serve.answers import EncoderSummary, ModelAnswer, ModelsAnswer, ModelSummary, Verdict

_FROM_MANIFEST = ("created_at", "labels", "features", "ngrams", "text", "temperature", "metrics", "parity", "lineage")


def list_versions(registry: Registry) -> ModelsAnswer:
    """Return all versions, newest first; one that cannot be read says why."""
    return ModelsAnswer(models=[_summary(registry, version) for version in reversed(registry.versions())])


def show_version(registry: Registry, name: str) -> ModelAnswer:
    """Return everything that is known of a version or alias.

    Raises:
        UnknownVersion, BundleError: when there is none, or its manifest cannot be read.
    """
    version = registry.resolve(name)
    manifest = registry.manifest(version)
    encoder = manifest.encoder
    card = registry.path(version) / CARD
    return ModelAnswer(
        version=version,
        aliases=_aliases(registry, version),
        encoder=EncoderSummary(**encoder.model_dump(include=set(EncoderSummary.model_fields))) if encoder else None,
        decision=registry.decision(version),
        card=card.read_text(encoding="utf-8") if card.is_file() else None,
        rollouts=Rollouts(registry.root).latest(version=version),
        **{name: getattr(manifest, name) for name in _FROM_MANIFEST},
    )


def _summary(registry: Registry, version: str) -> ModelSummary:
    aliases = _aliases(registry, version)
    try:
        manifest, decision = registry.manifest(version), registry.decision(version)
    except HoneError as error:
        return ModelSummary(version=version, aliases=aliases, problem=error.message)
    return ModelSummary(
        version=version,
        aliases=aliases,
        created_at=manifest.created_at,
        speed=manifest.lineage.speed,
        features=manifest.features,
        parent=manifest.lineage.parent,
        labels=len(manifest.labels),
        metrics=manifest.metrics,
        gate=Verdict(promote=decision.promote, summary=decision.summary) if decision else None,
    )


def _aliases(registry: Registry, version: str) -> list[str]:
    return [alias for alias, named in registry.aliases().model_dump().items() if named == version]
