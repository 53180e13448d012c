"""Where a version's encoder was trained, and on what: a head that is fitted over it has learned those texts through it."""

from __future__ import annotations

from core.bundle import Manifest
from core.errors import DataError, UnknownVersion
from core.registry import Registry
from core.settings import Settings
from feedback.snapshot import Snapshot


def encoder_version(registry: Registry, version: str) -> Manifest:
    """Return the manifest of the version in which the encoder of ``version`` was trained last, or came in."""
    manifest = registry.manifest(version)
    while manifest.lineage.speed == "head" and manifest.lineage.parent is not None:
        try:
            manifest = registry.manifest(manifest.lineage.parent)
        except UnknownVersion:
            # A version that was removed by hand; what is left of its line will do.
            break
    return manifest


def texts_of_encoder(trained: Manifest, settings: Settings) -> set[str]:
    """Return the keys of the texts that the encoder of the version ``trained`` was trained on there, or chosen by.

    To fit the head without them does not make it forget them, so its answers to them tell nothing. Where nobody knows any more
    what the encoder was trained on, none are returned.
    """
    if trained.lineage.speed != "full":
        return set()
    try:
        snapshot = Snapshot.load(settings.home.snapshots, trained.lineage.snapshot)
    except DataError:
        return set()
    return {example.text_key for example in snapshot.learned("full")}
