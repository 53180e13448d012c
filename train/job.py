"""Carrying out a fit: in this process, or as a Ray Train job of its own; and telling its outcome to another process."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from core.errors import HoneError, RunCancelled, StoreUnavailable
from core.priority import give_way
from core.telemetry import configure_logging
from feedback.snapshot import Snapshot
from feedback.store import Store
from train.curve import Curve
from train.fit import fit
from train.jobs import FitJob
from train.progress import Progress, Report, Stages
from train.request import STAGES

log = logging.getLogger("hone.learner")

_REPORT_EVERY_S = 0.5


class StoreReport:
    """Writes progress into the run's record, at most twice a second, and learns there of a wish to stop."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store, self._run_id = store, run_id
        self._curve = Curve()
        self._last = 0.0
        self._cancelled = False

    def __call__(self, progress: Progress) -> None:
        """Record the progress; a store that is away for a moment does not stop the run."""
        pace = progress.pace
        if pace is not None:
            self._curve.add(progress.ratio, pace.loss, pace.examples_per_s)
        moment = time.monotonic()
        if moment - self._last < _REPORT_EVERY_S:
            return
        self._last = moment
        try:
            self._store.update_run(
                self._run_id,
                stage=progress.stage,
                progress_ratio=progress.ratio,
                remaining_s=progress.remaining_s,
                metrics={name: round(float(value), 4) for name, value in asdict(pace).items()} if pace is not None else None,
                curve=self._curve.points or None,
            )
            self._cancelled = self._store.cancel_requested(self._run_id)
        except StoreUnavailable:
            return

    def cancelled(self) -> bool:
        """Return whether somebody asked the run to stop, as of the last report."""
        return self._cancelled


def fit_here(job: FitJob, report: Report, cancelled: Callable[[], bool]) -> Path:
    """Carry out the job in this process and return the folder of the bundle."""
    snapshot = Snapshot.load(job.settings.home.snapshots, job.snapshot)
    stages = Stages(STAGES[job.request.speed], report, cancelled, job.share)
    fitted = fit(snapshot, job.dataset, job.request, job.place, stages, parent=job.parent, run=job.run_id)
    log.info("fit ended", extra={"run_id": job.run_id, "seconds": fitted.seconds})
    return fitted.folder


@dataclass(frozen=True)
class Outcome:
    """What became of a job in another process: the folder of its bundle, or a message for the run's record."""

    kind: Literal["bundle", "cancelled", "error", "defect"]
    value: str

    def folder(self) -> Path:
        """Return the folder of the bundle.

        Raises:
            HoneError: what the fit raised.
        """
        if self.kind == "bundle":
            return Path(self.value)
        if self.kind == "cancelled":
            raise RunCancelled(self.value)
        raise HoneError(self.value if self.kind == "error" else f"unexpected {self.value}; see the log of training")


def carry_out(job: FitJob) -> Outcome:
    """Carry out the job in this process and return what became of it; nothing is raised, since it would reach nobody."""
    store = Store(job.settings.sqlalchemy_url)
    report = StoreReport(store, job.run_id)
    try:
        return Outcome("bundle", str(fit_here(job, report, report.cancelled)))
    except RunCancelled as error:
        return Outcome("cancelled", error.message)
    except HoneError as error:
        return Outcome("error", error.message)
    except Exception as error:
        # A defect, or a library's own error: its message may quote data.
        log.exception("fit failed", extra={"run_id": job.run_id})
        return Outcome("defect", type(error).__name__)
    finally:
        store.close()


@dataclass(frozen=True)
class RayFit:
    """Carries out jobs on the cluster that Ray is connected to: each in one worker, or leading those that its place names."""

    cpus: float = 1.0

    def __call__(self, job: FitJob) -> Path:
        """Run the job and return the folder of the bundle.

        Raises:
            HoneError: what the fit raised in the worker.
        """
        if job.place.workers is not None:
            import ray

            # It only leads the workers, who have room of their own.
            outcome: Outcome = ray.get(ray.remote(num_cpus=0, max_retries=0)(_lead).remote(job))
            return outcome.folder()
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        storage = job.place.staging / "ray"
        trainer = TorchTrainer(
            _train_loop,
            train_loop_config={"job": job},
            scaling_config=ScalingConfig(num_workers=1, use_gpu=False, resources_per_worker={"CPU": self.cpus}),
            # A fit that fails once fails again; the next trigger is the retry.
            run_config=RunConfig(name=job.run_id, storage_path=str(storage), failure_config=FailureConfig(max_failures=0)),
        )
        trainer.fit()
        return _outcome(job)


def _lead(job: FitJob) -> Outcome:
    """What the Ray task runs that does all but train the encoder, for which it has workers."""
    _settle_in(job)
    return carry_out(job)


def _settle_in(job: FitJob) -> None:
    """Make this process of Ray's one that trains."""
    import torch

    # Serving has the same cores: training takes what it leaves. Ray sets one thread per reserved CPU; giving way makes the rest
    # safe to use as well.
    give_way(job.settings.learn_nice, alone=True)
    torch.set_num_threads(job.settings.engine_threads or os.cpu_count() or 1)
    configure_logging(job.settings.log_level, job.settings.home.logs / "train.log")


def _train_loop(config: dict[str, FitJob]) -> None:
    """What the Ray Train worker runs. Errors of ours are handed over as a file, since Ray wraps them beyond recognition."""
    from ray import train

    job = config["job"]
    _settle_in(job)
    store = Store(job.settings.sqlalchemy_url)
    report = StoreReport(store, job.run_id)
    try:
        folder = fit_here(job, report, report.cancelled)
        (job.place.staging / "bundle").write_text(folder.name, encoding="utf-8")
    except HoneError as error:
        kind = "cancelled" if isinstance(error, RunCancelled) else "error"
        (job.place.staging / kind).write_text(error.message, encoding="utf-8")
    finally:
        store.close()
    train.report({"done": 1.0})


def _outcome(job: FitJob) -> Path:
    staging = job.place.staging
    if (staging / "cancelled").exists():
        raise RunCancelled((staging / "cancelled").read_text(encoding="utf-8"))
    if (staging / "error").exists():
        raise HoneError((staging / "error").read_text(encoding="utf-8"))
    return staging / (staging / "bundle").read_text(encoding="utf-8")
