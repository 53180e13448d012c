"""Keeping predictions without making anybody wait.

The hot path queues them, a thread writes them, the disk holds what the store cannot take, and what even that cannot hold is
counted: nothing is silently gone.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from core.schemas import PredictionRecord
from feedback.delivery import BATCH_ROWS, Delivery, LogEvent, PredictionSink, keep
from feedback.log_policy import KEEP_ALL, LogPolicy
from feedback.spool import Spool

_LINGER_S = 0.05
_IDLE_S = 0.5

_logger = logging.getLogger("hone.feedback")


class PredictionLog:
    """A queue of ``queue_rows`` predictions, written by a thread, with a spool of ``spool_max_bytes`` behind it.

    ``policy`` decides what is kept of them; a text it takes away reaches neither disk nor store. ``written``, ``spooled``,
    ``dropped`` and ``unsampled`` count predictions; ``on_event`` is told of each change, on whichever thread made
    it. A spooled prediction counts again, as written, once the store has it. The sink stays the caller's to close.
    """

    def __init__(
        self,
        sink: PredictionSink,
        spool_folder: Path,
        *,
        queue_rows: int = 20_000,
        spool_max_bytes: int = 64_000_000,
        policy: LogPolicy = KEEP_ALL,
        on_event: Callable[[LogEvent, int], None] = lambda _kind, _rows: None,
    ) -> None:
        self.written = self.spooled = self.dropped = self.unsampled = 0
        self._policy = policy
        self._queue_rows = queue_rows
        self._on_event = on_event
        self._spool = Spool(spool_folder, spool_max_bytes)
        self._spool_at_close = Spool(spool_folder, spool_max_bytes)
        self._delivery = Delivery(sink, self._spool, self._count)
        self._changed = threading.Condition()
        self._queue: deque[PredictionRecord] = deque()
        self._in_flight: list[PredictionRecord] = []
        self._accepted = self._settled = self._hurry_to = 0
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="hone-prediction-log", daemon=True)
        self._thread.start()

    def put(self, records: Sequence[PredictionRecord]) -> None:
        """Queue ``records`` and return at once; those the queue has no room for are counted as dropped."""
        sampled = self._policy.sampled(records)
        self._count("unsampled", len(records) - len(sampled))
        with self._changed:
            was_empty = not self._queue
            room = 0 if self._closing else self._queue_rows - len(self._queue)
            taken = sampled[: max(0, room)]
            self._queue.extend(taken)
            self._accepted += len(taken)
            # The writer lingers to fill its batch; waking it for every prediction would cost the hot path.
            if was_empty or len(self._queue) >= BATCH_ROWS:
                self._changed.notify_all()
        self._count("dropped", len(sampled) - len(taken))

    def flush(self, timeout_s: float) -> bool:
        """Return whether all that was put before left memory (written, spooled or dropped) within ``timeout_s`` seconds."""
        with self._changed:
            wanted = self._hurry_to = self._accepted
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._settled >= wanted, timeout_s)

    def close(self, timeout_s: float = 8.0) -> None:
        """Write or spool all that is queued and end the thread; what a hanging store holds up for longer is spooled."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            left = [*self._in_flight, *self._queue]
            self._queue.clear()
        if left:
            self._attempt(lambda: keep(self._policy.kept(left), self._spool_at_close, self._count), len(left))
        self._spool_at_close.release()

    def _work(self) -> None:
        while True:
            if self._settle(self._next_batch()) == 0 and self._closing:
                break
            self._attempt(lambda: self._delivery.replay(self._serve_meanwhile), 0)
        self._spool.release()

    def _next_batch(self) -> list[PredictionRecord]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing, _IDLE_S)
            if self._queue:
                self._changed.wait_for(self._is_due, _LINGER_S)
            return self._pop()

    def _is_due(self) -> bool:
        return len(self._queue) >= BATCH_ROWS or self._closing or self._hurry_to > self._settled

    def _pop(self) -> list[PredictionRecord]:
        self._in_flight = [self._queue.popleft() for _ in range(min(BATCH_ROWS, len(self._queue)))]
        return self._in_flight

    def _settle(self, batch: list[PredictionRecord]) -> int:
        if batch:
            self._attempt(lambda: self._delivery.deliver(self._policy.kept(batch)), len(batch))
            with self._changed:
                self._in_flight = []
                self._settled += len(batch)
                self._changed.notify_all()
        return len(batch)

    def _serve_meanwhile(self) -> bool:
        with self._changed:
            batch = self._pop()
        self._settle(batch)
        return not self._closing

    def _attempt(self, work: Callable[[], None], rows: int) -> None:
        """Do ``work``; whatever goes wrong is logged and counted, because the thread has to live on."""
        try:
            work()
        except Exception as error:
            # No traceback: an error's message may quote what was being kept.
            _logger.error("keeping %d predictions failed: %s", rows, type(error).__name__)  # noqa: TRY400 - no traceback, see above
            self._count("dropped", rows)

    def _count(self, kind: LogEvent, rows: int) -> None:
        if rows <= 0:
            return
        with self._changed:
            setattr(self, kind, getattr(self, kind) + rows)
        self._on_event(kind, rows)
