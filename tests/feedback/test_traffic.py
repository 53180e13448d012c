"""Traffic in slots of time: replicas add up, a slot sent twice counts once, what is old goes."""

from __future__ import annotations

from datetime import timedelta

from core.schemas import now
from core.slo import LATENCY_BUCKETS_S
from feedback.store import Store
from feedback.traffic import KEPT, TrafficSlot

_NOW = now().replace(microsecond=0)


def _slot(seconds: int, texts: int) -> TrafficSlot:
    within = [0] * (len(LATENCY_BUCKETS_S) + 1)
    within[2] = texts
    return TrafficSlot(_NOW + timedelta(seconds=seconds), texts, 1, 0, within)


def test_replicas_add_up_and_a_slot_that_is_sent_again_replaces_itself(store: Store) -> None:
    store.add_traffic("one", [_slot(-30, 5), _slot(-15, 7)])
    store.add_traffic("two", [_slot(-15, 10)])
    store.add_traffic("one", [_slot(-15, 8)])
    found = store.traffic_since(_NOW - timedelta(seconds=30))
    assert [(slot.began_at, slot.texts, slot.refused, slot.within[2]) for slot in found] == [
        (_NOW - timedelta(seconds=30), 5, 1, 5),
        (_NOW - timedelta(seconds=15), 18, 2, 18),
    ]
    assert [slot.texts for slot in store.traffic_since(_NOW - timedelta(seconds=20))] == [18]


def test_what_is_older_than_is_kept_goes(store: Store) -> None:
    old = -int(KEPT.total_seconds()) - 60
    store.add_traffic("one", [_slot(old, 3)])
    store.add_traffic("one", [_slot(0, 4)])
    assert [slot.texts for slot in store.traffic_since(_NOW - 2 * KEPT)] == [4]
