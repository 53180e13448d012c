"""The learner: a process that waits for runs, carries them out one at a time, and starts some by itself.

``python -m train.learner`` reads the settings from the environment. It holds a lease, so of several learners one works; when it
dies, the lease runs out, and the next learner marks the run it was at as failed.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
import time
import uuid
from pathlib import Path
from types import FrameType

from core.errors import HoneError, StoreUnavailable
from core.metrics import Metrics
from core.schemas import now
from core.settings import Settings
from core.telemetry import configure_logging
from feedback.erasing import finish_erasures
from feedback.store import Store
from train.execute import Executor, Fit, FitJob
from train.planning import ReviewPlanner
from train.triggers import Triggers

log = logging.getLogger("hone.learner")

LEASE = "learner"
_LEASE_S = 15.0
_RENEW_S = 4.0
_LOOK_EVERY_S = 0.5
_PLAN_EVERY_S = 30.0


class Learner:
    """Waits, claims, learns."""

    def __init__(self, settings: Settings, store: Store, fit: Fit, metrics: Metrics) -> None:
        self._store, self._fit = store, fit
        self._holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._home, self._runs = settings.home, settings.home.runs
        self._executor = Executor(settings, store, metrics)
        self._triggers = Triggers(settings.learn_after_corrections, settings.learn_every_s)
        self._speed = settings.learn_speed
        self._planner = ReviewPlanner(settings, store)
        self._plan_at = 0.0
        self._started_at = now()
        self._stopping = threading.Event()
        self._leads = False

    def run(self) -> None:
        """Work until :meth:`stop`; a store that is away is waited for."""
        keeper = threading.Thread(target=self._keep_lease, name="lease", daemon=True)
        keeper.start()
        try:
            while not self._stopping.wait(_LOOK_EVERY_S):
                try:
                    self.look()
                except StoreUnavailable as error:
                    log.warning("the store is away", extra={"reason": error.message})
        finally:
            self._stopping.set()
            keeper.join(timeout=2.0)
            self._give_up_lease()

    def stop(self) -> None:
        """Make :meth:`run` return after the present step."""
        self._stopping.set()

    def look(self) -> bool:
        """Carry out one run if one is waiting or due; return whether there was one."""
        self._executor.settle()
        if not self._leads and not self._take_lead():
            return False
        self._start_what_is_due()
        run = self._store.claim_run(self._holder)
        if run is None:
            self._fill_review()
            return False
        log.info("run started", extra={"run_id": run.run_id, "speed": run.speed, "trigger": run.trigger})
        self._executor.execute(run, self._fit)
        return True

    def _fill_review(self) -> None:
        """Keep the review queue filled, while there is nothing to learn."""
        if time.monotonic() < self._plan_at:
            return
        self._plan_at = time.monotonic() + _PLAN_EVERY_S
        try:
            self._planner.fill()
        except StoreUnavailable:
            raise
        except HoneError as error:
            log.warning("the review queue was not filled", extra={"reason": error.message})
        except Exception:
            # A defect here must not keep the learner from learning.
            log.exception("filling the review queue failed")

    def _take_lead(self) -> bool:
        self._leads = self._store.take_lease(LEASE, self._holder, _LEASE_S)
        if self._leads:
            for run_id in self._store.fail_orphans("the learner that was at it died"):
                log.warning("run failed: its learner died", extra={"run_id": run_id})
                shutil.rmtree(self._runs / run_id, ignore_errors=True)
            finish_erasures(self._store, self._home)
        return self._leads

    def _start_what_is_due(self) -> None:
        store = self._store
        due = self._triggers.due(
            new_corrections=store.correction_count(store.corrections_seen()),
            last_run=store.last_run(),
            started_at=self._started_at,
            now=now(),
        )
        if due is not None:
            store.create_run(self._speed, due.trigger, due.note)

    def _keep_lease(self) -> None:
        while not self._stopping.wait(_RENEW_S):
            if not self._leads:
                continue
            try:
                self._leads = self._store.take_lease(LEASE, self._holder, _LEASE_S)
            except StoreUnavailable:
                # Others cannot take it either while the store is away.
                continue

    def _give_up_lease(self) -> None:
        try:
            self._store.release_lease(LEASE, self._holder)
        except StoreUnavailable:
            log.warning("the lease could not be given back; it runs out by itself")


def main() -> None:
    """Run a learner on the Ray cluster of ``HONE_RAY_ADDRESS`` until SIGTERM."""
    settings = Settings()
    settings.home.prepare()
    configure_logging(settings.log_level)

    def end(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature is the signal module's
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    # The terminal sends Ctrl-C to the whole group; the stack decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    store = Store.of(settings)
    learner = Learner(settings, store, _OnRay(settings.ray_address), Metrics())
    try:
        learner.run()
    finally:
        store.close()


class _OnRay:
    """A fit that connects to Ray at its first job, so that an idle learner costs little."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connected = False

    def __call__(self, job: FitJob) -> Path:
        import ray

        from train.job import RayFit

        if not self._connected:
            ray.init(address=self._address, namespace="hone", log_to_driver=False, logging_level=logging.ERROR)
            self._connected = True
        return RayFit()(job)


if __name__ == "__main__":
    main()
