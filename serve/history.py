"""Recent history: traffic over time as a bounded number of points, and what happened meanwhile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import reduce
from itertools import groupby, pairwise

from core.history_bodies import EventKind, HistoryAnswer, HistoryEvent, TrafficPoint
from core.registry import Registry
from core.rollouts import Rollouts
from core.schemas import LIVE_STATES
from core.slo import LATENCY_BUCKETS_S
from feedback.store import Store
from feedback.traffic import SLOT_S, TrafficSlot

_MOST_POINTS = 240
_MOST_EVENTS = 200
_ALARMS = 50
# What changes who answers; that a version was registered is told by its run.
_MOVES: Mapping[str, EventKind] = {
    "promote": "promote",
    "rollback": "rollback",
    "challenge": "challenge",
    "withdraw": "withdraw",
}


def history_of(store: Store, registry: Registry, started_at: datetime, ended_at: datetime) -> HistoryAnswer:
    """Return what was answered and what happened between two moments.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    length_s = (ended_at - started_at).total_seconds()
    step_s = SLOT_S * max(1, math.ceil(length_s / SLOT_S / _MOST_POINTS))
    slots = [slot for slot in store.traffic_since(started_at) if slot.began_at <= ended_at]
    events = [event for event in _events(store, registry, started_at) if started_at <= event.at <= ended_at]
    events.sort(key=lambda event: event.at, reverse=True)
    return HistoryAnswer(
        started_at=started_at,
        ended_at=ended_at,
        step_s=step_s,
        traffic=[_point(at, found) for at, found in in_steps(slots, started_at, step_s)][-_MOST_POINTS:],
        events=events[:_MOST_EVENTS],
    )


def in_steps(slots: Iterable[TrafficSlot], started_at: datetime, step_s: float) -> Iterator[tuple[datetime, list[TrafficSlot]]]:
    """Yield when each step began, and the slots of it; steps are counted from ``started_at``, those without slots left out."""

    def number(slot: TrafficSlot) -> int:
        return math.floor((slot.began_at - started_at).total_seconds() / step_s)

    for place, found in groupby(slots, number):
        yield started_at + timedelta(seconds=place * step_s), list(found)


def quantile_s(within: Sequence[int], share: float) -> float | None:
    """Return the latency that ``share`` of the texts did not exceed, None where there are none.

    Within a bucket they are taken to lie evenly, as Prometheus's ``histogram_quantile`` has it; of those beyond the last bound
    that bound is all that is known.

    >>> quantile_s([0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0.5)
    0.0015
    """
    total = sum(within)
    if not total:
        return None
    wanted, seen = share * total, 0
    for count, (low, high) in zip(within, pairwise((0.0, *LATENCY_BUCKETS_S)), strict=False):
        if count and seen + count >= wanted:
            return round(low + (high - low) * (wanted - seen) / count, 6)
        seen += count
    return LATENCY_BUCKETS_S[-1]


def _point(at: datetime, slots: Sequence[TrafficSlot]) -> TrafficPoint:
    # What is not over yet, or was not recorded, counts neither as traffic nor as time.
    covered_s = SLOT_S * len(slots)
    total = reduce(TrafficSlot.plus, slots)
    return TrafficPoint(
        at=at,
        texts_per_s=round(total.texts / covered_s, 3),
        refused_per_s=round(total.refused / covered_s, 3),
        failed_per_s=round(total.failed / covered_s, 3),
        p50_s=quantile_s(total.within, 0.5),
        p99_s=quantile_s(total.within, 0.99),
    )


def _events(store: Store, registry: Registry, started_at: datetime) -> list[HistoryEvent]:
    moves = [
        HistoryEvent(at=move.at, kind=kind, subject=move.version, why=move.why)
        for move in registry.history()
        if (kind := _MOVES.get(move.action)) is not None
    ]
    rollouts = [
        HistoryEvent(at=one.at, kind=one.state, subject=one.version, why=one.reason)
        for one in Rollouts(registry.root).latest(limit=_MOST_EVENTS)
        if one.state in ("failed", "rolled_back")
    ]
    runs = [
        HistoryEvent(at=run.ended_at, kind="run", subject=run.run_id, outcome=run.state, why=run.error or run.version)
        for run in store.runs_since(started_at)
        if run.state not in LIVE_STATES and run.ended_at is not None
    ]
    alarms = [
        HistoryEvent(at=alarm.created_at, kind="alarm", subject=", ".join(sorted(alarm.detectors)), why=alarm.model_version)
        for alarm in store.drift_alarms(_ALARMS)
    ]
    return [*moves, *rollouts, *runs, *alarms]
