"""Ends what is left of a stack whose main process is gone, however it went: in order, by a second Ctrl-C, by SIGKILL.

The main process starts ``python -m deploy.stack.guard MARK FOLDER PID`` and holds the other end of its standard input; when
that closes, every process whose environment carries the mark is ended and the folder is removed. Marks are random and handed
down from parent to child, so no process of another stack, or of any other Ray, is ever touched.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

MARK = "HONE_STACK_MARK"
# What is asked to end has this long before it is made to.
GRACE_S = 3.0
# Two looks in a row that find nothing, because a process may be starting another one while the first look passes it.
_QUIET_LOOKS = 2
_LIMIT_S = 10.0


def marked(mark: str, spared: frozenset[int]) -> list[psutil.Process]:
    """Return the living processes of this user whose environment carries ``mark``, except those ``spared`` by id."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in spared and process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def end_marked(mark: str, *, spared: frozenset[int] = frozenset(), grace_s: float = GRACE_S) -> int:
    """End every process that carries ``mark``, politely first, and return how many there were."""
    ended: set[int] = set()
    began = time.monotonic()
    quiet = 0
    while quiet < _QUIET_LOOKS and time.monotonic() - began < _LIMIT_S:
        alive = [process for process in marked(mark, spared) if process.status() != psutil.STATUS_ZOMBIE]
        quiet = 0 if alive else quiet + 1
        for process in alive:
            ended.add(process.pid)
            _signal(process, politely=time.monotonic() - began < grace_s)
        time.sleep(0.1)
    return len(ended)


def _signal(process: psutil.Process, *, politely: bool) -> None:
    try:
        process.terminate() if politely else process.kill()
    except psutil.Error:
        # Gone between the look and the signal, which is what was wanted.
        return


def start_guard(mark: str, folder: Path, main_pid: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the guard of this process; closing its standard input sets it off. ``environment`` must not carry the mark."""
    command = [sys.executable, "-m", "deploy.stack.guard", mark, str(folder), str(main_pid)]
    # A session of its own, so that what ends the stack's process group does not end the guard.
    return subprocess.Popen(  # noqa: S603 - our own module
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(environment),
        start_new_session=True,
    )


def main(arguments: list[str]) -> int:
    """Wait for the end of standard input, then end what carries the mark and remove the folder."""
    mark, folder, main_pid = arguments
    sys.stdin.buffer.read()
    end_marked(mark, spared=frozenset({int(main_pid)}))
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
