"""``hone learn`` without a running stack: one run, carried out here and now."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import uuid
from dataclasses import dataclass, field
from typing import Literal

from core.errors import LeaseHeld, StoreUnavailable
from core.finetuning import FinetuneWish
from core.metrics import Metrics
from core.schemas import RunAnswer, RunSpeed
from core.settings import Settings
from feedback.store import Store
from train.execute import Executor, Fit
from train.job import StoreReport, fit_here
from train.learner import LEASE
from train.orphans import give_up_orphans
from train.progress import Progress, Report, silent

_LEASE_S = 15.0


@dataclass(frozen=True)
class Wish:
    """The run that is wanted: one of its own at ``speed``, or one that resumes or repeats the run ``earlier``."""

    speed: RunSpeed = "auto"
    note: str | None = None
    manner: Literal["resume", "repeat"] | None = None
    earlier: str = ""
    finetune: FinetuneWish = field(default_factory=FinetuneWish)

    def queue(self, store: Store) -> RunAnswer:
        """Put it into the queue of runs."""
        if self.manner is None:
            return store.create_run(self.speed, "manual", self.note, self.finetune)
        return store.continue_run(self.earlier, self.manner, self.note)


def learn_once(settings: Settings, wish: Wish | None = None, *, progress: Report = silent) -> RunAnswer:
    """Carry out one run in this process and return it, ended.

    Raises:
        UnknownRun, RunNotRepeatable: when the run to resume or repeat is not one of those.
        LeaseHeld: when a learner is at work on this state folder.
        StoreUnavailable: when the store does not answer.
    """
    settings.home.prepare()
    store = Store.of(settings)
    holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    done = threading.Event()
    keeper = threading.Thread(target=_keep, args=(store, holder, done), daemon=True)
    try:
        if not store.take_lease(LEASE, holder, _LEASE_S):
            raise LeaseHeld("another learner is at work on this state folder; wait for it, or let the service learn")
        keeper.start()
        give_up_orphans(settings, store)
        asked = (wish or Wish()).queue(store)
        executor = Executor(settings, store, Metrics(), lambda: store.take_lease(LEASE, holder, _LEASE_S))
        # Runs are taken in the order they were asked for, so one that was waiting goes first.
        while (run := store.claim_run(holder)) is not None:
            ended = executor.execute(run, _fit_here(store, run.run_id, progress))
            if ended.run_id == asked.run_id:
                return ended
        raise LeaseHeld("the run was taken by another learner")
    finally:
        done.set()
        if keeper.is_alive():
            # Else it could renew the lease after it was given back.
            keeper.join()
        store.release_lease(LEASE, holder)
        store.close()


def _fit_here(store: Store, run_id: str, progress: Report) -> Fit:
    record = StoreReport(store, run_id)

    def report(moment: Progress) -> None:
        record(moment)
        progress(moment)

    return lambda job: fit_here(job, report, record.cancelled)


def _keep(store: Store, holder: str, done: threading.Event) -> None:
    while not done.wait(_LEASE_S / 4):
        # While the store is away nobody else can take the lease either.
        with contextlib.suppress(StoreUnavailable):
            store.take_lease(LEASE, holder, _LEASE_S)
