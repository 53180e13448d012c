"""Deciding on many detectors at once, so that no drift seldom looks like drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from core.drift.detector import Score

# An effect that somebody has taken note of raises no second alarm until it is larger by this much.
GROWTH = 1.5

Verdict = Literal["drift", "known", "quiet", "unknown"]


@dataclass(frozen=True)
class Finding:
    """What one detector said of a window; ``limit`` is the p-value below which it is drift, given the others."""

    detector: str
    verdict: Verdict
    size: float | None = None
    p_value: float | None = None
    limit: float | None = None


def decide(scores: Mapping[str, Score | None], alpha: float, known: Mapping[str, float] | None = None) -> list[Finding]:
    """Return a finding per detector, in their order.

    The chance that a window without drift gives any is at most ``alpha``, however the detectors hang together (Holm,
    Scandinavian Journal of Statistics 6, 1979). Over time that is ``alpha`` false alarms a window: evidence is not summed up
    over windows, since all are compared with one finite reference, whose own chance would add up too. ``known`` are the sizes
    of drift that was taken note of.
    """
    judged = sorted(((name, score) for name, score in scores.items() if score is not None), key=lambda item: item[1].p_value)
    found: dict[str, Finding] = {}
    rejecting = True
    for place, (name, score) in enumerate(judged):
        limit = alpha / (len(judged) - place)
        rejecting = rejecting and score.p_value <= limit
        noted = (known or {}).get(name)
        new = noted is None or score.size > GROWTH * noted
        verdict: Verdict = "quiet" if not rejecting else "drift" if new else "known"
        found[name] = Finding(name, verdict, score.size, score.p_value, limit)
    return [found.get(name, Finding(name, "unknown")) for name in scores]
