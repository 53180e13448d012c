"""Noting in the audit trail what was done already: where the store is away, entries wait on disk and go in before the next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from core.errors import StoreUnavailable
from core.home import append_line
from core.schemas import now
from feedback.store import Store

_LOCK_TIMEOUT_S = 5.0


def note(store: Store, pending: Path, entry: Mapping[str, Any]) -> None:
    """Add what waits in ``pending`` to the trail, and then ``entry``: ``actor``, ``action``, ``target``, ``details``.

    Raises:
        StoreUnavailable: nothing was added, or a part of what waited.
    """
    if pending.exists():
        with _turn(pending):
            lines = pending.read_bytes().splitlines() if pending.exists() else []
            for line in lines:
                store.record(**json.loads(line))
            pending.unlink(missing_ok=True)
    store.record(**entry)


def keep(pending: Path, entry: Mapping[str, Any]) -> None:
    """Keep ``entry`` in ``pending`` with the time, until the store is back."""
    details = {**(entry.get("details") or {}), "at": now().isoformat()}
    with _turn(pending):
        append_line(pending, {**entry, "details": details})


def note_or_keep(store: Store, pending: Path, entry: Mapping[str, Any]) -> bool:
    """Return whether ``entry`` is in the trail; where not it waits in ``pending``."""
    try:
        note(store, pending, entry)
    except StoreUnavailable:
        keep(pending, entry)
        return False
    return True


def _turn(pending: Path) -> FileLock:
    return FileLock(f"{pending}.lock", timeout=_LOCK_TIMEOUT_S)
