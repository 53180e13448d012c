"""Ending a process that this one started and speaks with by pipes."""

from __future__ import annotations

import contextlib
import subprocess


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill ``process``, whatever it is at, and close the pipes to it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            # What it died too soon to read would be written now.
            with contextlib.suppress(OSError):
                pipe.close()
