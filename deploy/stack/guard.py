"""Ends what is left of a stack whose main process is gone, however it went: in order, by a second Ctrl-C, by SIGKILL.

The main process starts ``python -m deploy.stack.guard MARK FOLDER PID`` and holds the other end of its standard input; when
that closes, every process of the stack is ended and its folder removed. What belongs to the stack carries the mark in its
environment, or has a file of the folder open. Marks and folders are random, so no process of another stack, or of any other
Ray, is ever touched.
"""

from __future__ import annotations

import os
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


def stack_processes(mark: str, folder: Path, spared: frozenset[int]) -> list[psutil.Process]:
    """Return the living processes of one stack, except those ``spared`` by id."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in spared and process.status() != psutil.STATUS_ZOMBIE and _belongs(process, mark, folder):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _belongs(process: psutil.Process, mark: str, folder: Path) -> bool:
    inside = f"{folder}/"
    # Ray's workers write their titles over their environment; but each has its log open, which lies in the folder.
    return (
        process.environ().get(MARK) == mark
        or any(inside in argument for argument in process.cmdline())
        or any(file.path.startswith(inside) for file in process.open_files())
    )


def end_processes(mark: str, folder: Path, *, spared: frozenset[int] = frozenset(), grace_s: float = GRACE_S) -> int:
    """End every process of the stack, politely first, and return how many there were. The folder must still be there."""
    ended: set[int] = set()
    began = time.monotonic()
    quiet = 0
    while quiet < _QUIET_LOOKS and time.monotonic() - began < _LIMIT_S:
        alive = stack_processes(mark, folder, spared)
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
    """Wait for the end of standard input, then end the stack's processes and remove its folder."""
    mark, folder, main_pid = arguments
    sys.stdin.buffer.read()
    # Its own command line names the folder, too.
    end_processes(mark, Path(folder), spared=frozenset({int(main_pid), os.getpid()}))
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
