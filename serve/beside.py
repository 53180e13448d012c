"""The replica's end of :mod:`serve.side_process`: started, asked, ended; blocking, so for threads only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from core.errors import BundleError
from serve.probation import Spoken

_ASK_TIMEOUT_S = 60.0
_END_S = 5.0
_ROOT = Path(__file__).resolve().parents[1]
LOWEST_NICENESS = 19
# A trial has a timeout, and at the lowest priority it would hardly get on beside a replica that is busy for minutes.
TRIAL_NICENESS = 5
COMMAND = (sys.executable, "-m", "serve.side_process")


class SideProcessEnded(Exception):
    """The process beside the replica is gone; its words end a sentence."""


class SideProcess:
    """One process that has loaded ``folders``; ``command`` is replaced by tests only to have something that misbehaves."""

    def __init__(self, folders: Sequence[Path], *, niceness: int = LOWEST_NICENESS, command: Sequence[str] = COMMAND) -> None:
        """Start the process and return at once."""
        self._folders = folders
        self._niceness = niceness
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
            },
            encoding="utf-8",
        )
        # Both are there: they were asked for as pipes.
        self._questions = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)

    def load(self, *, threads: int, cache: Path, timeout_s: float) -> None:
        """Return when the bundles are loaded and verified there.

        Raises:
            BundleError: when they are not within ``timeout_s``, with the reason.
        """
        folders = [str(folder) for folder in self._folders]
        order = {"folders": folders, "threads": threads, "cache": str(cache), "timeout_s": timeout_s}
        order["niceness"] = self._niceness
        try:
            answer = self._exchange(order, timeout_s)
        except SideProcessEnded as error:
            names = " and ".join(folder.name for folder in self._folders)
            raise BundleError(f"{names} was tried in a process of its own, which {error}") from None
        if "error" in answer:
            raise BundleError(str(answer["error"]))

    def ask(self, texts: Sequence[str]) -> list[list[Spoken | None]]:
        """Return for each text what each version says, None where its engine failed.

        Raises:
            SideProcessEnded: it died, or did not answer in time.
        """
        rows = self._exchange({"texts": list(texts)}, _ASK_TIMEOUT_S)["rows"]
        return [[Spoken(*said) if said is not None else None for said in row] for row in rows]

    def kill(self) -> None:
        """End the process without waiting for it; whoever waits for an answer gets SideProcessEnded."""
        self._process.kill()

    def close(self) -> None:
        """End the process and let go of it; may be called twice."""
        self._process.kill()
        self._process.wait(timeout=_END_S)
        for pipe in (self._questions, self._answers):
            # What was being written to it when it died stays unwritten.
            try:
                pipe.close()
            except BrokenPipeError:
                continue

    def __enter__(self) -> SideProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _exchange(self, question: object, timeout_s: float) -> dict[str, Any]:
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        watch = threading.Timer(timeout_s, end)
        watch.daemon = True
        watch.start()
        line = ""
        try:
            self._questions.write(json.dumps(question) + "\n")
            self._questions.flush()
            line = self._answers.readline()
        except (OSError, ValueError):
            line = ""
        finally:
            watch.cancel()
        if not line.endswith("\n"):
            raise SideProcessEnded(f"did not finish within {timeout_s:g} s" if late.is_set() else self._death())
        return dict(json.loads(line))

    def _death(self) -> str:
        code = self._process.wait(timeout=_END_S)
        if code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name
        return f"was ended by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
