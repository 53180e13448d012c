"""Watching drift in a process of its own, which gives way to everything else.

A look at a window takes a second or two of a processor, every half minute. On a thread of the learner it had the learner's
share of a full machine, and that was felt: while it looked, the engine had a quarter of a core less, and of the requests that
an overloaded service took the slowest hundredth waited half as long again (2 cores, 1,400 requests/s). The learner itself
cannot give way as far, since it fits heads that people wait for.

The learner starts ``python -m train.drift_process`` while it holds the lease. The process is told its settings on standard
input, and ends when that ends: with the learner, however that ended, or with the lease.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

from core.metrics import Metrics
from core.priority import put_behind
from core.settings import Settings
from core.telemetry import configure_logging
from feedback.store import Store
from train.children import end
from train.drift_watch import DriftWatcher

_COMMAND = (sys.executable, "-m", "train.drift_process")
# One that dies at once, for want of memory say, is not to take the machine with it.
_AGAIN_AFTER_S = 60.0

log = logging.getLogger("hone.learner")


class DriftProcess:
    """The learner's side: keeps the process while it is wanted."""

    def __init__(self, settings: Settings, command: Sequence[str] = _COMMAND, *, again_after_s: float = _AGAIN_AFTER_S) -> None:
        self._settings = settings
        self._command = command
        self._again_after_s = again_after_s
        self._process: subprocess.Popen[bytes] | None = None
        self._begun_at = -again_after_s

    @property
    def pid(self) -> int | None:
        """The process, None where there is none."""
        return self._process.pid if self._process is not None else None

    def keep(self, *, wanted: bool) -> None:
        """See to it that the process is there if it is ``wanted``, and not otherwise; called now and then."""
        if not wanted:
            self.close()
            return
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            log.warning("the process that watches drift ended; it is started again", extra={"exit_code": code})
            self.close()
        if self._settings.drift_window_rows and time.monotonic() - self._begun_at >= self._again_after_s:
            self._begun_at = time.monotonic()
            self._start()

    def close(self) -> None:
        """End the process, whatever it is at; a window that was not noted down is looked at again."""
        process, self._process = self._process, None
        if process is not None:
            end(process)

    def _start(self) -> None:
        try:
            # A session of its own, because Linux may share out processors by session.
            process = subprocess.Popen(self._command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own
            self._process = process
            put_behind(process.pid, self._settings.learn_nice)
            if process.stdin is not None:
                pickle.dump(self._settings, process.stdin)
                process.stdin.flush()
        except OSError as error:
            # There is no memory for it, or it is dead already, which the next call finds out.
            log.warning("the process that watches drift did not start", extra={"reason": error.strerror})


def _end_with(told: IO[bytes]) -> None:
    told.read()
    # Nobody wants to know any more, and nobody else would end what is at work.
    os._exit(0)


def main() -> None:
    """Watch until standard input ends."""
    # The terminal sends Ctrl-C to the whole group; the learner decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = sys.stdin.buffer
    settings: Settings = pickle.load(told)  # noqa: S301 - written by the learner that started this process
    configure_logging(settings.log_level)
    threading.Thread(target=_end_with, args=(told,), name="learner", daemon=True).start()
    DriftWatcher(settings, Store.of(settings), Metrics()).run()


if __name__ == "__main__":
    main()
