"""Versions as the service and the command line show them, read from the registry itself."""

from __future__ import annotations

from core.bundle import CARD
from core.errors import HoneError
from core.registry import Aliases, Registry
from core.rollouts import Rollouts
from serve.answers import EncoderSummary, ModelAnswer, ModelsAnswer, ModelSummary, Verdict

_FROM_MANIFEST = ("created_at", "labels", "features", "ngrams", "text", "temperature", "metrics", "parity", "lineage")


def list_versions(registry: Registry, most: int | None = None) -> ModelsAnswer:
    """Return the ``most`` newest versions, or all, newest first; one that cannot be read says why."""
    aliases = registry.aliases()
    newest = registry.versions()[::-1][:most]
    return ModelsAnswer(models=[_summary(registry, version, _names(aliases, version)) for version in newest])


def show_version(registry: Registry, name: str) -> ModelAnswer:
    """Return everything that is known of a version or alias.

    Raises:
        UnknownVersion, BundleError: when there is none, or its manifest cannot be read.
    """
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
        rollouts=Rollouts(registry.root).latest(version=version),
        **{name: getattr(manifest, name) for name in _FROM_MANIFEST},
    )


def _summary(registry: Registry, version: str, names: list[str]) -> ModelSummary:
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
    )


def _names(aliases: Aliases, version: str) -> list[str]:
    return [alias for alias, named in aliases.model_dump().items() if named == version]
