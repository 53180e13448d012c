"""``hone learn`` without a running stack: one run, carried out here and now."""

from __future__ import annotations

import os
import socket
import threading
import uuid

from core.errors import LeaseHeld
from core.metrics import Metrics
from core.schemas import RunAnswer
from core.settings import Settings, Speed
from feedback.store import Store
from train.execute import Executor
from train.job import StoreReport, fit_here
from train.learner import LEASE
from train.progress import Progress, Report, silent

_LEASE_S = 15.0


def learn_once(settings: Settings, *, speed: Speed = "head", note: str | None = None, progress: Report = silent) -> RunAnswer:
    """Carry out one run in this process and return it, ended.

    Raises:
        LeaseHeld: when a learner is at work on this state folder.
        StoreUnavailable: when the store does not answer.
    """
    settings.home.prepare()
    store = Store.open(settings.sqlalchemy_url)
    holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    done = threading.Event()
    try:
        if not store.take_lease(LEASE, holder, _LEASE_S):
            raise LeaseHeld("another learner is at work on this state folder; wait for it, or let the service learn")
        keeper = threading.Thread(target=_keep, args=(store, holder, done), daemon=True)
        keeper.start()
        store.fail_orphans("the learner that was at it died")
        store.create_run(speed, "manual", note)
        run = store.claim_run(holder)
        if run is None:
            raise LeaseHeld("the run was taken by another learner")
        record = StoreReport(store, run.run_id)

        def report(moment: Progress) -> None:
            record(moment)
            progress(moment)

        return Executor(settings, store, Metrics()).execute(run, lambda job: fit_here(job, report, record.cancelled))
    finally:
        done.set()
        store.release_lease(LEASE, holder)
        store.close()


def _keep(store: Store, holder: str, done: threading.Event) -> None:
    while not done.wait(_LEASE_S / 4):
        store.take_lease(LEASE, holder, _LEASE_S)
