"""The learner: a process that waits for runs, carries them out one at a time, and starts some by itself.

``python -m train.learner`` reads the settings from the environment. It holds a lease, so of several learners one works; when it
dies, the lease runs out, and the next learner marks the run it was at as failed.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType

from core.errors import HoneError, StoreUnavailable
from core.metrics import Metrics
from core.priority import SHORT_WORK_NICENESS, give_way_as_session
from core.process_metrics import ProcessMetrics, nvml
from core.schemas import Outlook, RunSpeed, now
from core.settings import Settings
from core.telemetry import configure_logging
from core.timetable import start_of_day
from core.tracing import Tracing
from feedback.erasing import finish_erasures
from feedback.leases import LEARNER
from feedback.store import Store
from train.drift_process import DriftProcess
from train.execute import Executor, Fit, FitJob
from train.foresight import Situation, foresee
from train.holding import Limits, Past, expected_s
from train.orphans import give_up_orphans
from train.planning import ReviewPlanner
from train.run_gauges import show_run
from train.run_traces import TellRun, tell_run, untold
from train.triggers import Triggers
from train.warm import WarmFit

log = logging.getLogger("hone.learner")

LEASE = LEARNER
_LEASE_S = 15.0
_RENEW_S = 4.0
_LOOK_EVERY_S = 0.5
_PLAN_EVERY_S = 30.0
_FORETELL_EVERY_S = 10.0


class Learner:
    """Waits, claims, learns."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        fit: Fit,
        metrics: Metrics,
        expect: Callable[[RunSpeed], None] = lambda _speed: None,
        tell: TellRun = untold,
        drift: DriftProcess | None = None,
    ) -> None:
        self._tell = tell
        self._store, self._fit, self._expect, self._metrics = store, fit, expect, metrics
        self._holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._settings, self._home = settings, settings.home
        self._executor = Executor(settings, store, metrics, lambda: store.take_lease(LEASE, self._holder, _LEASE_S))
        self._triggers = Triggers.of(settings)
        self._limits = Limits.of(settings)
        self._foretold: Outlook | None = None
        self._speed = settings.learn_speed
        self._planner = ReviewPlanner(settings, store)
        self._drift = drift
        self._on_drift = settings.learn_on_drift
        self._plan_at = 0.0
        self._started_at = now()
        self._stopping = threading.Event()
        self._leads = False
        self._run_id: str | None = None

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
            if self._drift is not None:
                self._drift.close()
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
        self._run_id = run.run_id
        log.info("run started", extra={"run_id": run.run_id, "speed": run.speed, "trigger": run.trigger})
        self._expect(run.speed)
        try:
            ended = self._executor.execute(run, self._fit)
            self._tell(ended, self._executor.seconds)
        finally:
            self._run_id = None
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
            give_up_orphans(self._settings, self._store)
            finish_erasures(self._store, self._settings)
        return self._leads

    def _start_what_is_due(self) -> None:
        store, moment = self._store, now()
        alarm = store.open_drift_alarm() if self._on_drift else None
        last_run, new_corrections = store.last_run(), store.correction_count(store.corrections_seen())
        due = self._triggers.due(
            new_corrections=new_corrections, last_run=last_run, started_at=self._started_at, now=moment, alarm=alarm
        )
        hold = None
        if due is not None:
            past = Past(store.runs().runs, store.runs_since(start_of_day(moment, self._limits.zone)))
            speed = self._limits.affordable(self._speed, past)
            hold = self._limits.hold(past, moment, expected_s(speed, past))
            if hold is None:
                run = store.create_run(speed, due.trigger, due.note)
                if alarm is not None:
                    # Whatever was the reason, the run learns from all there is, so it answers the alarm as well.
                    store.handle_drift_alarm(alarm.alarm_id, run.run_id, began=due.trigger == "drift")
        situation = Situation(due, hold, last_run, new_corrections, self._started_at, moment)
        self._foretell(foresee(self._triggers, situation))

    def _foretell(self, outlook: Outlook) -> None:
        """Tell everybody when learning goes on: when that changes, and now and then, which says that a learner lives."""
        known = self._foretold
        aged = known is None or outlook.at - known.at >= timedelta(seconds=_FORETELL_EVERY_S)
        if known is None or aged or outlook.model_copy(update={"at": known.at}) != known:
            self._store.set_outlook(outlook)
            self._foretold = outlook

    def _keep_lease(self) -> None:
        while not self._stopping.wait(_RENEW_S):
            if self._drift is not None:
                # Beside the runs, which may take hours: an alarm must not wait for the end of one.
                self._drift.keep(wanted=self._leads)
            if not self._leads:
                continue
            try:
                self._leads = self._store.take_lease(LEASE, self._holder, _LEASE_S)
                self._show_progress()
            except StoreUnavailable:
                # Others cannot take it either while the store is away.
                continue

    def _show_progress(self) -> None:
        """Say in the metrics how the run at work fares."""
        run_id = self._run_id
        # Set while idle too: a reading from just before a run ended may come after its last word.
        run = self._store.run(run_id) if run_id is not None else None
        show_run(self._metrics, run if run and run.state == "running" else None)

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
    give_way_as_session(min(settings.learn_nice, SHORT_WORK_NICENESS))

    def end(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature is the signal module's
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    # The terminal sends Ctrl-C to the whole group; the stack decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    store = Store.of(settings)
    metrics, fits = Metrics(), _Fits(settings)
    tracing = Tracing.of(settings, "hone-learner")
    tell = untold if tracing is None else partial(tell_run, tracing)
    learner = Learner(settings, store, fits, metrics, fits.expect, tell, DriftProcess(settings))
    try:
        with ProcessMetrics(metrics, "learner", nvml()).kept():
            learner.run()
    finally:
        fits.close()
        store.close()
        if tracing is not None:
            tracing.close()


class _Fits:
    """Fits heads in a warm process beside this one, and encoders as Ray Train jobs; an idle learner has neither."""

    def __init__(self, settings: Settings) -> None:
        self._address = settings.ray_address
        self._heads = WarmFit(min(settings.learn_nice, SHORT_WORK_NICENESS))
        self._connected = False

    def expect(self, speed: RunSpeed) -> None:
        """Make ready for a job of this speed, while its snapshot is being made."""
        if speed != "full":
            self._heads.start()

    def close(self) -> None:
        """End the process for heads."""
        self._heads.close()

    def __call__(self, job: FitJob) -> Path:
        if job.request.speed == "head":
            return self._heads(job)
        import ray

        from train.job import RayFit

        if not self._connected:
            ray.init(address=self._address, namespace="hone", log_to_driver=False, logging_level=logging.ERROR)
            self._connected = True
        return RayFit()(job)


if __name__ == "__main__":
    main()
