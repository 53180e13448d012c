"""The learner's side of :mod:`train.worker`: a process for heads, started before it is needed and replaced when it dies."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from core.errors import HoneError
from train.children import end
from train.execute import FitJob
from train.job import Outcome

_COMMAND = (sys.executable, "-m", "train.worker")


class WarmFit:
    """Carries out jobs in a process of their own that outlives them; one at a time."""

    def __init__(self, niceness: int, command: Sequence[str] = _COMMAND) -> None:
        self._command = (*command, str(niceness))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Have the process load what it needs while the caller has other things to do."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            # In the learner's session, so that whatever ends that ends this as well.
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own

    def __call__(self, job: FitJob) -> Path:
        """Carry out the job and return the folder of the bundle.

        Raises:
            HoneError: what the fit raised, or that its process died.
        """
        try:
            outcome = self._ask(job)
            if outcome is None and self._ended_by_itself():
                # It had just ended for want of work.
                outcome = self._ask(job)
        except BaseException:
            # The learner is to stop: what is at work must not go on without it.
            self.close()
            raise
        if outcome is None:
            code = self._process.wait() if self._process is not None else None
            self.close()
            raise HoneError(f"the process that fitted died (code {code}); a run that needs more memory than there is ends so")
        if outcome.kind == "defect":
            # Whatever it left behind in the process is not carried into the next run.
            self.close()
        return outcome.folder()

    def close(self) -> None:
        """End the process, whatever it is at."""
        process, self._process = self._process, None
        if process is not None:
            end(process)

    def _ask(self, job: FitJob) -> Outcome | None:
        """Return what the process answers, None when it ends without an answer."""
        self.start()
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return None
        try:
            pickle.dump(job, process.stdin)
            process.stdin.flush()
            outcome = pickle.load(process.stdout)  # noqa: S301 - written by our own process
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        return outcome if isinstance(outcome, Outcome) else None

    def _ended_by_itself(self) -> bool:
        return self._process is not None and self._process.wait() == 0
