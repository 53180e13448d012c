"""Starting and ending one replica's work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.process_metrics import ProcessMetrics, nvml
from serve.heap import map_large_blocks
from serve.heartbeat import Heartbeat
from serve.parts import Parts
from serve.traffic_recorder import TrafficRecorder

_logger = logging.getLogger("hone.serve")


@asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[None]:
    """Keep ``parts`` at work inside the block; at its end what was predicted is written or spooled.

    The block begins before a model is loaded; :meth:`ChampionWatcher.first_look` waits for that.
    """
    map_large_blocks()
    parts.batcher.start()
    heartbeat = Heartbeat(parts)
    recorder = TrafficRecorder(parts.replica_id, parts.metrics, parts.store)
    works = (parts.watcher.run(), parts.probation_watch.run(), heartbeat.run(), recorder.run())
    tasks = [asyncio.create_task(work) for work in works]
    if parts.settings.memory_entries:
        tasks.append(asyncio.create_task(parts.memory.run()))
    if parts.challenge_watch is not None:
        tasks.append(asyncio.create_task(parts.challenge_watch.run()))
    if parts.key_watcher is not None:
        tasks.append(asyncio.create_task(parts.key_watcher.run()))
    for task in tasks:
        task.add_done_callback(_note_end)
    process = ProcessMetrics(parts.metrics, "replica", nvml())
    try:
        with process.kept():
            yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await parts.batcher.close()
        if parts.log is not None:
            await asyncio.to_thread(parts.log.close, 5.0)
        await heartbeat.stop()
        parts.store.close()
        parts.memory.close()
        parts.log_store.close()
        if parts.teller is not None:
            await asyncio.to_thread(parts.teller.close)


def _note_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        _logger.critical("a background task has ended", exc_info=task.exception())
