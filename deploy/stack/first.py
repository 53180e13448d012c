"""The first version of a new home: the default classifier, taught from the package's own sample data."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from queue import Empty
from typing import TYPE_CHECKING, Any

from core.settings import Settings

if TYPE_CHECKING:
    from train.progress import Progress
    from train.teach import TeachReport

_queue: Any = None


def teach_default(settings: Settings, progress: Callable[[Progress], None]) -> TeachReport:
    """Return the report of teaching the default classifier, in a process of its own.

    Training pulls in torch and transformers; a stack that runs for weeks should not keep their memory.

    Raises:
        HoneError: whatever the training raised.
    """
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    pool = ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_begin, initargs=(queue,))
    try:
        future: Future[TeachReport] = pool.submit(_teach, settings)
        while not future.done():
            wait([future], timeout=0.1)
            _drain(queue, progress)
        return future.result()
    except BaseException:
        # Ctrl-C in the middle: the training is not waited for.
        for process in list(pool._processes.values()):
            process.kill()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        queue.close()
        queue.cancel_join_thread()


def _drain(queue: Any, progress: Callable[[Progress], None]) -> None:
    while True:
        try:
            progress(queue.get_nowait())
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
