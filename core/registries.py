"""The registry that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import Conflict
from core.registry import Registry
from core.settings import Settings

if TYPE_CHECKING:
    from core.shared_registry import SharedRegistry

_FRESH_S = 1.0


def registry_of(settings: Settings, *, watched: bool = False) -> Registry:
    """Return the registry in the state folder, or the one that several nodes share by ``HONE_BUNDLES_URL``.

    ``watched``: somebody asks :meth:`Registry.look` again and again, so that nobody else has to wait for the store.

    Raises:
        BundlesUnavailable: the address cannot be used.
    """
    if not settings.bundles_url:
        return Registry(settings.home.registry)
    return _shared(settings, None if watched else _FRESH_S)


def publish(settings: Settings) -> list[str]:
    """Take the versions of the state folder into the store of ``HONE_BUNDLES_URL``, which has none yet, and return them.

    Raises:
        Conflict: no store is named, or it has versions already.
        BundlesUnavailable: it does not answer.
        BundleError: a version of the folder does not verify.
    """
    if not settings.bundles_url:
        raise Conflict("HONE_BUNDLES_URL names no store to take the versions to")
    return _shared(settings, None).publish()


def _shared(settings: Settings, fresh_s: float | None) -> SharedRegistry:
    # Obstore is an extra, and takes time to import.
    from core.objects import Objects
    from core.shared_registry import SharedRegistry

    versions = Path(settings.bundles_cache) / settings.name if settings.bundles_cache else None
    return SharedRegistry(settings.home.registry, Objects.of(settings), versions=versions, fresh_s=fresh_s)
