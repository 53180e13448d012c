"""What the store knows that is shown to people; all of it read in one go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.schemas import Outlook, RunAnswer
from feedback.corrections import Outcomes
from feedback.leases import LEARNER
from feedback.replicas import ReplicaReport
from feedback.store import Store

# Longer than a few periods, so that one late beat does not hide a living replica.
REPLICA_MAX_AGE_S = 10.0


@dataclass(frozen=True)
class StoreView:
    """One reading of the store."""

    replicas: list[ReplicaReport]
    outcomes: Mapping[str, Outcomes]
    corrections: int
    confirmations: int
    corrections_unlearned: int
    last_run: RunAnswer | None
    outlook: Outlook | None
    learner_up: bool


def read_view(store: Store) -> StoreView:
    """Return what the store knows now."""
    return StoreView(
        replicas=store.replicas(REPLICA_MAX_AGE_S),
        outcomes=store.label_outcomes(),
        corrections=store.correction_count(kind="correction"),
        confirmations=store.correction_count(kind="confirmation"),
        corrections_unlearned=store.correction_count(store.corrections_seen()),
        last_run=store.last_run(),
        outlook=store.outlook(),
        learner_up=store.lease_is_held(LEARNER),
    )
