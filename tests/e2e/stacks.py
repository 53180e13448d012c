"""A whole stack as a user starts it: ``hone up`` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.ports import free_port

_START_S = 180.0


class Stack:
    """A started ``hone up`` and the way to speak to it."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = home.parent / f"up-{self.port}.log"
        own = {f"HONE_{name.upper()}": value for name, value in settings.items()}
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HONE_", "RAY_"))}
        environment |= {"HONE_HOME": str(home), "HONE_PORT": str(self.port), **own}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from deploy.cli import main; main()", "up"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Return when predictions are answered.

        Raises:
            AssertionError: with what the stack printed, when it does not come up.
        """
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self._log.read_text(errors="replace")
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == httpx.codes.OK:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"not ready: {self._log.read_text(errors='replace')}")

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)

    def kill(self) -> None:
        """Kill the main process without a word."""
        self.process.kill()
        self.process.wait(timeout=10)


@contextmanager
def running(home: Path, **settings: str) -> Iterator[Stack]:
    """Start a stack on ``home`` and end it."""
    stack = Stack(home, **settings)
    try:
        stack.wait_until_ready()
        yield stack
    finally:
        if stack.process.poll() is None:
            stack.interrupt()
