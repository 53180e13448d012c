"""What a replica tells the others about itself, and what it learns from the store about all: once a second, off every path."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable

from core.errors import HoneError, StoreUnavailable
from feedback.replicas import ReplicaReport
from feedback.spool import Spool
from feedback.store import Store
from serve.parts import Parts
from serve.state_gauges import read_disk, show_disk, show_store
from serve.store_view import read_view

_PERIOD_S = 1.0
_GAUGES_EVERY = 5
# Of a store with very many corrections the gauges read for seconds; they may not do that all the time.
_READING_RATIO = 0.05
_logger = logging.getLogger("hone.serve")


def own_report(parts: Parts) -> ReplicaReport:
    """Return what this replica has to say of itself."""
    slot = parts.slot
    version = slot.current.version if slot.current else None
    if slot.candidate:
        return ReplicaReport(parts.replica_id, version, "loading", slot.candidate)
    if slot.refusal:
        return ReplicaReport(parts.replica_id, version, "failed", slot.refusal.version, slot.refusal.reason)
    return ReplicaReport(parts.replica_id, version, "serving" if version else "starting")


class Heartbeat:
    """Reports ``parts`` to the store and keeps the gauges that come from the store; a store that is away does no harm."""

    def __init__(self, parts: Parts, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._clock_s = clock_s
        self._beats = 0
        self._refresh_at = 0
        self._up: bool | None = None
        self._spool_max_bytes = parts.settings.spool_max_bytes
        self._spool = Spool(parts.settings.home.spool, self._spool_max_bytes)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(_PERIOD_S)

    async def beat(self) -> None:
        """Report once and, every few times, refresh the gauges."""
        store = self._parts.store
        try:
            await store.call(Store.report_replica, own_report(self._parts))
            if self._beats >= self._refresh_at:
                await self._refresh()
            self._note(up=True)
        except StoreUnavailable as error:
            self._note(up=False, why=error.message)
        except Exception:
            # A defect of the store's must not end the beat: readiness and the gauges hang on it.
            _logger.exception("the heartbeat failed")
            self._note(up=False, why="see the error before this line")
        self._beats += 1

    async def _refresh(self) -> None:
        started_s = self._clock_s()
        parts = self._parts
        show_store(parts.metrics, await parts.store.call(read_view))
        try:
            show_disk(parts.metrics, await asyncio.to_thread(read_disk, parts.registry, self._spool), self._spool_max_bytes)
        except (OSError, HoneError):
            _logger.warning("the state folder cannot be read", exc_info=True)
        took_s = self._clock_s() - started_s
        self._refresh_at = self._beats + max(_GAUGES_EVERY, math.ceil(took_s / _READING_RATIO / _PERIOD_S))

    async def stop(self) -> None:
        """Take this replica off the list, if the store answers."""
        try:
            async with asyncio.timeout(1.0):
                await self._parts.store.call(Store.forget_replica, self._parts.replica_id)
        except (StoreUnavailable, TimeoutError):
            _logger.info("the feedback store was not told of this replica's end; it forgets it by itself")

    def _note(self, *, up: bool, why: str = "") -> None:
        self._parts.metrics.set("hone_store_up", float(up))
        if self._up is not False and not up:
            _logger.warning("the feedback store is away: %s", why)
        elif self._up is False and up:
            _logger.info("the feedback store is back")
        self._up = up
