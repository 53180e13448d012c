"""How versions fare in this replica, as its status tells it."""

from __future__ import annotations

from typing import Any

from core.settings import Settings
from serve.comparing import Comparison
from serve.probation import Tally
from serve.rollout_answers import ChallengerStatus, CheckStatus, ProbationStatus
from serve.slot import ModelSlot


def probation_status(slot: ModelSlot) -> ProbationStatus | None:
    """Return how the version on probation fares; None where none is."""
    found = slot.probation
    if found is None:
        return None
    return ProbationStatus(
        version=found.version, replaced=found.replaced, until=found.until, **_seen(found.tally, found.comparison)
    )


def challenger_status(slot: ModelSlot, settings: Settings) -> ChallengerStatus | None:
    """Return how the challenger fares; None where none answers or looks on."""
    found = slot.challenge
    if found is None:
        return None
    return ChallengerStatus(
        version=found.version,
        mode="canary" if found.loaded else "shadow",
        share_ratio=settings.canary_ratio if found.loaded else settings.shadow_ratio,
        **_seen(found.tally, found.comparison),
    )


def _seen(tally: Tally, comparison: Comparison | None) -> dict[str, Any]:
    checks = [
        CheckStatus(
            check=finding.check,
            hits=finding.hits,
            trials=finding.trials,
            limit_ratio=finding.limit,
            evidence_ratio=round(max(0.0, finding.evidence / finding.needed), 4),
        )
        for finding in tally.findings()
    ]
    return {
        "requests": tally.answered,
        "compared_texts": tally.compared,
        "agreement_ratio": tally.agreement_ratio,
        "problem": comparison.problem if comparison else None,
        "checks": checks,
    }
