"""Bringing predictions to the store, or to the spool while it is away, and from the spool to the store when it is back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Literal, Protocol

from core.errors import InputError, StoreUnavailable
from core.schemas import PredictionRecord
from feedback.patience import Patience
from feedback.spool import Spool, read_batches

LogEvent = Literal["written", "spooled", "dropped", "unsampled"]

BATCH_ROWS = 1_000
_FIRST_RETRY_S = 0.5
_LAST_RETRY_S = 10.0
_LOOK_FOR_LEFTOVERS_S = 5.0
# A store that hangs for longer counts as away; what is put meanwhile fits into the log's queue, and closing waits longer.
_HANGS_AFTER_S = 5.0

_logger = logging.getLogger("hone.feedback")


class PredictionSink(Protocol):
    """Where predictions end up; a :class:`feedback.store.Store` is one, also before it has connected."""

    def log_predictions(self, records: Sequence[PredictionRecord]) -> None:
        """Keep ``records``, all or none."""

    def ping(self) -> None:
        """Return when it answers."""


class Delivery:
    """Takes each prediction to one of three ends and says so to ``count``: written, spooled or dropped. For one thread."""

    def __init__(
        self,
        sink: PredictionSink,
        spool: Spool,
        count: Callable[[LogEvent, int], None],
        hangs_after_s: float = _HANGS_AFTER_S,
    ) -> None:
        self._sink = sink
        self._patience = Patience(hangs_after_s)
        self._spool = spool
        self._count = count
        self._away = False
        self._retry_s = _FIRST_RETRY_S
        self._retry_at = self._replay_at = 0.0

    def deliver(self, batch: Sequence[PredictionRecord]) -> None:
        """Write ``batch`` to the store, or spool it while the store is away."""
        written = self._write(batch)
        if written is None:
            keep(batch, self._spool, self._count)
            return
        self._count("written", written)
        self._count("dropped", len(batch) - written)

    def replay(self, interlude: Callable[[], bool]) -> None:
        """Write what is spooled, by this process or by dead ones, if the store is there and it is time to look again.

        Between two batches it calls ``interlude``, which sees to what has come in meanwhile, and stops where that says False.
        """
        if monotonic() < max(self._retry_at, self._replay_at):
            return
        self._replay_at = monotonic() + _LOOK_FOR_LEFTOVERS_S
        if not self._spool.waiting() or not self._answers():
            return
        self._spool.release()
        for path in self._spool.waiting():
            if not self._replay_file(path, interlude):
                # What is left of the file is sent again from its start, which the store does not mind.
                self._replay_at = 0.0
                return

    def _replay_file(self, path: Path, interlude: Callable[[], bool]) -> bool:
        written = dropped = 0
        with self._spool.taken_over(path) as file:
            if file is None:
                return True
            for place, (batch, broken) in enumerate(read_batches(file, BATCH_ROWS)):
                # Between two, and not after the last: a file that was written whole is not to be sent again.
                if place and not interlude():
                    return False
                taken = self._write(batch) if batch else 0
                if taken is None:
                    return False
                written += taken
                dropped += len(batch) - taken + broken
            path.unlink(missing_ok=True)
        self._count("written", written)
        self._count("dropped", dropped)
        return True

    def _write(self, batch: Sequence[PredictionRecord]) -> int | None:
        """Return how many the store took, or None while it is away."""
        if monotonic() < self._retry_at:
            return None
        try:
            written = self._write_what_fits(batch)
        except StoreUnavailable as error:
            self._note_away(error)
            return None
        self._note_back()
        return written

    def _write_what_fits(self, batch: Sequence[PredictionRecord]) -> int:
        try:
            self._patience.wait_for(lambda: self._sink.log_predictions(batch))
        except InputError:
            if len(batch) == 1:
                return 0
            # One prediction the database cannot keep must not take the others with it.
            half = len(batch) // 2
            return self._write_what_fits(batch[:half]) + self._write_what_fits(batch[half:])
        return len(batch)

    def _answers(self) -> bool:
        try:
            self._patience.wait_for(self._sink.ping)
        except StoreUnavailable as error:
            self._note_away(error)
            return False
        self._note_back()
        return True

    def _note_away(self, error: StoreUnavailable) -> None:
        if not self._away:
            self._retry_s = _FIRST_RETRY_S
            _logger.warning("predictions are spooled: %s", error.message)
        self._away = True
        self._retry_at = monotonic() + self._retry_s
        self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)

    def _note_back(self) -> None:
        if self._away:
            _logger.info("the feedback store is back; spooled predictions are written")
            self._replay_at = 0.0
        self._away = False


def keep(batch: Sequence[PredictionRecord], spool: Spool, count: Callable[[LogEvent, int], None]) -> None:
    """Spool as much of ``batch`` as there is room for; the rest is dropped."""
    try:
        spooled = spool.append(batch)
    except OSError as error:
        _logger.warning("the spool cannot be written (%s); predictions are dropped", error.strerror or type(error).__name__)
        spooled = 0
    count("spooled", spooled)
    count("dropped", len(batch) - spooled)
