"""The learner as a child process: started, watched, started again when it dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from core.settings import Settings

# A learner that lived this long was well; the next death counts as the first again.
_WELL_S = 60.0
_BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 60.0)
# The learner promises to end within five seconds of SIGTERM.
_ENDING_S = 6.0


def settings_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that make ``Settings()`` in a child process equal to ``settings``.

    >>> from pathlib import Path
    >>> settings_environment(Settings(HONE_HOME=Path("/srv/hone"), port=9000))["HONE_PORT"]
    '9000'
    """
    variables = {f"HONE_{name.upper()}": str(value) for name, value in settings.model_dump(exclude={"home_dir"}).items()}
    return {**variables, "HONE_HOME": str(settings.base_dir)}


COMMAND = (sys.executable, "-m", "train.learner")


class Learner:
    """Keeps one process alive, which is ``python -m train.learner`` unless ``command`` says otherwise."""

    def __init__(self, settings: Settings, *, ray_address: str, metrics_dir: Path, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._environment = {
            **os.environ,
            **settings_environment(settings),
            "HONE_RAY_ADDRESS": ray_address,
            "PROMETHEUS_MULTIPROC_DIR": str(metrics_dir),
        }
        self._log = settings.home.logs / "learner.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._deaths = 0
        self._started_at = 0.0
        self._start_at = 0.0

    def start(self) -> None:
        """Start the process; it logs to ``logs/learner.log``."""
        with self._log.open("ab") as log:
            self._process = self._spawn(log)
        self._started_at = time.monotonic()

    def keep_alive(self) -> int | None:
        """Start the learner again if it died and its pause is over; return the exit code when it is found dead."""
        if self._process is None:
            if time.monotonic() >= self._start_at:
                self.start()
            return None
        code = self._process.poll()
        if code is None:
            return None
        self._process = None
        self._deaths = 1 if time.monotonic() - self._started_at > _WELL_S else self._deaths + 1
        self._start_at = time.monotonic() + _BACK_OFF_S[min(self._deaths, len(_BACK_OFF_S)) - 1]
        return code

    def ask_to_stop(self) -> None:
        """Send SIGTERM; a run at work is marked cancelled or failed by the learner itself."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        """Return when the process has ended, killed if it did not end in time."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout=_ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal reaches the stack, which then asks the learner in order.
        return subprocess.Popen(  # noqa: S603 - our own module, or a test's
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=self._environment,
            start_new_session=True,
        )
