"""A person's signature under what the gate recommends: in the audit trail first, then in the registry, then it acts."""

from __future__ import annotations

from functools import partial

from core.approvals import Approvals, Signing
from core.moves import Move
from core.registry import Aliases, Registry
from feedback.store import Store


def sign(store: Store, registry: Registry, version: str, signing: Signing, *, approve: bool) -> Aliases:
    """Promote a version that waits for approval, or refuse it, and return who plays which part then.

    A signature that the trail does not hold is none: while the store is away nothing is signed.

    Raises:
        StoreUnavailable: nothing has changed.
        HoneError: what :class:`core.approvals.Approvals` raises; nothing has changed.
    """
    approvals = Approvals(registry)
    act = approvals.approve if approve else approvals.refuse
    return act(version, signing, partial(_note, store))


def _note(store: Store, move: Move) -> None:
    details = {"decision_hash": move.seen, "reason": move.why, "champion": move.replaced, "stale": move.stale}
    store.record(move.by, move.action, move.version, details)
