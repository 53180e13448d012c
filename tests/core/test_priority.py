"""Who gives way, and to whom: threads, the idle class, sessions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.priority import LOWEST_NICENESS, give_way, put_behind

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux alone")

_REPORT = """
import json, os, pathlib, sys
from core.priority import give_way, give_way_as_session
{call}
group = pathlib.Path("/proc/self/autogroup")
kept = (group.read_text().split() if group.exists() else [])[-1:]
print(json.dumps([os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), kept]))
"""


def _reported(call: str, *, session: bool = False) -> list[object]:
    done = subprocess.run(
        [sys.executable, "-c", _REPORT.format(call=call)], capture_output=True, check=True, start_new_session=session, text=True
    )
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def _in_a_thread(niceness: int) -> tuple[int, int]:
    found: list[tuple[int, int]] = []

    def work() -> None:
        give_way(niceness)
        who = threading.get_native_id()
        found.append((os.getpriority(os.PRIO_PROCESS, who), os.sched_getscheduler(who)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_gives_way_alone() -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert _in_a_thread(min(18, own + 3)) == (min(18, own + 3), os.SCHED_OTHER)
    assert _in_a_thread(LOWEST_NICENESS) == (LOWEST_NICENESS, os.SCHED_IDLE)
    assert os.getpriority(os.PRIO_PROCESS, 0) == own
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_what_gives_way_further_already_stays_so() -> None:
    assert _reported("give_way(7, alone=True)\ngive_way(3, alone=True)")[:2] == [7, os.SCHED_OTHER]


def test_a_session_gives_way_where_the_kernel_goes_by_sessions() -> None:
    # A process older than the first session, as in some containers, is in no group: the file is there, and empty.
    if not _reported("pass", session=True)[2]:
        pytest.skip("this kernel does not share processors out by session")
    assert _reported("give_way_as_session(10)", session=True)[2] == ["10"]
    assert _reported("give_way_as_session(10)")[2] == _reported("pass")[2]


def test_a_process_that_was_just_started_gives_way_before_it_has_loaded_anything() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        put_behind(process.pid, LOWEST_NICENESS)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == LOWEST_NICENESS
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        group = Path(f"/proc/{process.pid}/autogroup")
        assert not group.exists() or group.read_text().split()[-1] == str(LOWEST_NICENESS)
    finally:
        process.kill()
        process.communicate()


def test_a_process_that_is_gone_already_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    put_behind(process.pid, LOWEST_NICENESS)
