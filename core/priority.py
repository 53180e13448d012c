"""Giving way on the processor: of threads to other threads, of training to serving."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

# The lowest niceness there is. Who asks for it wants nothing that anybody else could use.
LOWEST_NICENESS = 19
# Of work that takes seconds and is waited for: it gives way, and gets on beside a busy service all the same.
SHORT_WORK_NICENESS = 10


def give_way(niceness: int, *, alone: bool = False) -> None:
    """Give the calling thread, and all threads and processes it starts, this niceness; at 19 also the idle class (SCHED_IDLE).

    A thread of niceness 19 still takes its turns of milliseconds before one that wakes up gets the processor back; one of the
    idle class is put aside at once. A niceness that is higher already stays.

    Outside Linux threads have no priority of their own. There the whole process gives way where the caller is ``alone`` in it,
    and nothing happens elsewhere.
    """
    linux = sys.platform == "linux"
    if not (linux or alone):
        return
    _put_behind(threading.get_native_id() if linux else 0, niceness)


def give_way_as_session(niceness: int) -> None:
    """Have the session that this process leads give way to other sessions; nothing where it leads none.

    Linux may share the processors out among sessions first (``kernel.sched_autogroup_enabled``, see sched(7)): niceness then
    counts within a session alone, and a learner of niceness 19 in a session of its own takes half of what serving needs.
    """
    if os.getsid(0) == os.getpid():
        _put_session_behind(os.getpid(), niceness)


def put_behind(pid: int, niceness: int) -> None:
    """Have a process give way that was just started, and leads a session of its own: before it has loaded anything.

    What a process does itself comes too late: to load what this package needs takes seconds of a processor.
    """
    _put_behind(pid, niceness)
    _put_session_behind(pid, niceness)


def _put_behind(who: int, niceness: int) -> None:
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, who, max(niceness, os.getpriority(os.PRIO_PROCESS, who)))
        if sys.platform == "linux" and niceness >= LOWEST_NICENESS:
            os.sched_setscheduler(who, os.SCHED_IDLE, os.sched_param(0))


def _put_session_behind(leader: int, niceness: int) -> None:
    # Not there where the kernel shares out by threads.
    with contextlib.suppress(OSError):
        Path(f"/proc/{leader}/autogroup").write_text(str(niceness), encoding="ascii")
