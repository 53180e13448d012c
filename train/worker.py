"""A process that fits heads one after the other and keeps what it has loaded.

The learner starts ``python -m train.worker NICENESS`` and speaks with it over its standard input and output: a pickled job in,
a pickled outcome out. It ends when the learner does, however that happened, since its input then ends; after a while without
work; and after a job that left much memory behind.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import signal
import sys
import threading
from typing import IO, NoReturn

import psutil

from core.priority import give_way
from core.telemetry import configure_logging
from train.encode import keep_engines
from train.execute import FitJob
from train.job import carry_out

# A new process is warm within seconds, and until then a laptop has the memory back.
IDLE_S = 600.0
_MOST_MEMORY_BYTES = 1_500_000_000


def serve(jobs: IO[bytes], outcomes: IO[bytes], *, idle_s: float = IDLE_S) -> None:
    """Carry out what comes in on ``jobs`` until nothing has come for ``idle_s``; end the process when ``jobs`` ends."""
    waiting: queue.Queue[FitJob] = queue.Queue()

    def read() -> None:
        try:
            while True:
                waiting.put(pickle.load(jobs))  # noqa: S301 - written by the learner that started this process
        except (EOFError, OSError):
            # Nobody waits for an outcome any more, and nobody else would end what is at work.
            os._exit(0)

    threading.Thread(target=read, name="jobs", daemon=True).start()
    logging_to = None
    while True:
        try:
            job = waiting.get(timeout=idle_s)
        except queue.Empty:
            return
        if logging_to != (path := job.settings.home.logs / "train.log"):
            logging_to = path
            configure_logging(job.settings.log_level, path)
        pickle.dump(carry_out(job), outcomes)
        outcomes.flush()
        # Not the peak of getrusage: a process started by a large one inherits the peak of that one.
        if psutil.Process().memory_info().rss > _MOST_MEMORY_BYTES:
            return


def main(arguments: list[str]) -> NoReturn:
    """Serve on standard input and output; what libraries print goes to standard error."""
    # Serving has the same cores: training takes what it leaves.
    give_way(int(arguments[0]), alone=True)
    # The terminal sends Ctrl-C to the whole group; the learner decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    outcomes = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Of the encoder that a run embeds with and of the quantised one that is compared with it.
    keep_engines(2)
    serve(sys.stdin.buffer, outcomes)
    logging.shutdown()
    # An ordinary end would close standard input, which the reading thread may hold: the interpreter aborts then, and the
    # learner would take an idle process that ended for one that died.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
