"""Moving versions from the command line: through the service where one runs, else in the registry, noted in the trail."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.settings import Settings
from deploy.cli.context import who

if TYPE_CHECKING:
    from pydantic import BaseModel

    from core.registry import Registry
    from deploy.client import ServiceClient


def ask(
    settings: Settings,
    local: bool,
    remote: Callable[[ServiceClient], dict[str, Any]],
    here: Callable[[Registry], dict[str, Any]],
) -> dict[str, Any]:
    """Return the service's answer, or the registry's where no service runs."""
    from core.registries import registry_of
    from deploy.client import ServiceClient

    client = ServiceClient(settings)
    if not local and client.alive():
        return remote(client)
    settings.home.prepare()
    return here(registry_of(settings))


def noted(settings: Settings, registry: Registry, move: Callable[[ServiceClient | Registry], BaseModel]) -> BaseModel:
    """Have ``move`` done by the registry and note it in the audit trail; return what it returned."""
    from feedback.store import Store
    from feedback.trailing import note_or_keep

    before = len(registry.history(limit=None))
    aliases = move(registry)
    done = registry.history(limit=None)[before:]
    store = Store.of(settings)
    try:
        for found in done:
            details = {"decision_hash": found.seen, "reason": found.why} | ({"act": found.action} if found.override else {})
            action = "override" if found.override else found.action
            entry = {"actor": f"{who()} (command line)", "action": action, "target": found.version, "details": details}
            note_or_keep(store, settings.home.trail_pending, entry)
    finally:
        store.close()
    return aliases
