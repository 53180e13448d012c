"""The first version of a new home: the default classifier, taught from the package's own sample data."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from queue import Empty
from typing import TYPE_CHECKING, Any

from core.settings import Settings
from train.progress import Progress

if TYPE_CHECKING:
    from train.teach import TeachReport

_queue: Any = None


class FirstVersion:
    """Teaches the default classifier in a process of its own, which starts at once.

    Training pulls in torch and transformers; a stack that runs for weeks should not keep their memory. And it takes seconds to
    import them on one core, in which the stack can start Ray on another.
    """

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self._queue = context.Queue()
        self._pool = ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_begin, initargs=(self._queue,))
        self._future: Future[TeachReport] = self._pool.submit(_teach, settings)

    def finish(self, progress: Callable[[Progress], None]) -> TeachReport:
        """Return what came of it, after telling ``progress`` how far it is.

        Raises:
            HoneError: whatever the training raised.
        """
        progress(Progress("load libraries", 0.0))
        while not self._future.done():
            wait([self._future], timeout=0.1)
            self._drain(progress)
        return self._future.result()

    def stop(self) -> None:
        """End the process, finished or not. Safe to call twice."""
        # Its workers' list is the pool's own, and there is no other way to end one that is busy.
        for process in list((self._pool._processes or {}).values()):
            process.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._queue.close()
        self._queue.cancel_join_thread()

    def _drain(self, progress: Callable[[Progress], None]) -> None:
        while True:
            try:
                progress(self._queue.get_nowait())
            except Empty:
                return


def _begin(queue: Any) -> None:
    global _queue
    _queue = queue
    # The terminal sends Ctrl-C to the whole group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _teach(settings: Settings) -> TeachReport:
    from train.teach import DEFAULT_REQUEST, teach

    return teach(settings, DEFAULT_REQUEST, _queue.put)
