"""What this replica answers, as slots of time in the store: every replica adds its own, and any of them can tell the sum."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from core.errors import StoreUnavailable
from core.metrics import Metrics
from core.schemas import now
from core.slo import LATENCY_BUCKETS_S
from feedback.store import Store
from feedback.traffic import SLOT_S, TrafficSlot
from serve.store_calls import StoreCalls

_REFUSALS = frozenset({"overloaded", "deadline_exceeded", "unavailable", "no_model"})
# What a store that is away for an hour has missed; older slots are forgotten.
_MOST_WAITING = 240

_logger = logging.getLogger("hone.serve")

Counts = tuple[int, ...]


class TrafficRecorder:
    """Writes what ``metrics`` count, of this process alone, into the store; a store that is away gets it later."""

    def __init__(
        self,
        replica_id: str,
        metrics: Metrics,
        store: StoreCalls,
        clock: Callable[[], datetime] = now,
        *,
        slot_s: float = SLOT_S,
    ) -> None:
        self._replica_id = replica_id
        self._metrics, self._store, self._clock, self._slot_s = metrics, store, clock, slot_s
        self._before = read_counts(metrics)
        self._waiting: deque[TrafficSlot] = deque(maxlen=_MOST_WAITING)

    async def run(self) -> None:
        """Record one slot after the other until cancelled; slots begin at the same moments in every replica."""
        ended_at = self._slot_of(self._clock())
        while True:
            # Woken a moment too soon, it would replace the slot that it has just recorded by what is left of that.
            began_at = max(ended_at, self._slot_of(self._clock()))
            ended_at = began_at + timedelta(seconds=self._slot_s)
            await asyncio.sleep(max(0.0, (ended_at - self._clock()).total_seconds()))
            await self.record(began_at)

    async def record(self, began_at: datetime) -> None:
        """Write what was counted since the last call as the slot that began at ``began_at``."""
        counts = read_counts(self._metrics)
        texts, refused, failed, *within = (after - before for after, before in zip(counts, self._before, strict=True))
        self._before = counts
        self._waiting.append(TrafficSlot(began_at, texts, refused, failed, within))
        waiting = tuple(self._waiting)
        try:
            await self._store.call(Store.add_traffic, self._replica_id, waiting)
        except StoreUnavailable:
            return
        except Exception:
            _logger.exception("recording traffic failed")
            return
        self._waiting.clear()

    def _slot_of(self, moment: datetime) -> datetime:
        return datetime.fromtimestamp(moment.timestamp() // self._slot_s * self._slot_s, UTC)


def read_counts(metrics: Metrics) -> Counts:
    """Return how many texts this process answered and how many requests it refused and failed, and texts by latency.

    The latter are counted by the bounds of ``LATENCY_BUCKETS_S``, and slower ones last.
    """
    registry = metrics.registry.restricted_registry(
        ["hone_prediction_seconds_bucket", "hone_refused_total", "hone_requests_total"]
    )
    refused = failed = 0
    up_to = [0] * (len(LATENCY_BUCKETS_S) + 1)
    places = {bound: place for place, bound in enumerate((*LATENCY_BUCKETS_S, float("inf")))}
    for family in registry.collect():
        for sample in family.samples:
            count = int(sample.value)
            if sample.name == "hone_prediction_seconds_bucket":
                up_to[places[float(sample.labels["le"])]] += count
            elif sample.name == "hone_refused_total" and sample.labels["code"] in _REFUSALS:
                refused += count
            elif sample.name == "hone_requests_total" and sample.labels["status"] == "500":
                failed += count
    within = [count - before for count, before in zip(up_to, [0, *up_to], strict=False)]
    return (up_to[-1], refused, failed, *within)
