"""A learner's parts with a mistaken champion in place, and fits that write a bundle at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.bundle import verify
from core.classifier import Classifier
from core.metrics import Metrics
from core.registry import Registry
from core.schemas import RunAnswer, RunSpeed
from core.settings import Settings
from feedback.store import Store
from tests.train.toys import write_bundle
from train.execute import Executor, Fit, FitJob


def fit_well(job: FitJob) -> Path:
    """Write a bundle that beats the mistaken champion."""
    return _write(job, mistaken=False)


def fit_as_before(job: FitJob) -> Path:
    """Write a bundle that answers as the mistaken champion does."""
    return _write(job, mistaken=True)


def _write(job: FitJob, *, mistaken: bool) -> Path:
    folder = job.place.staging / "bundle"
    write_bundle(folder, mistaken=mistaken, dataset=job.dataset, snapshot=job.snapshot, speed=job.request.speed)
    return folder


@dataclass
class Bench:
    """A learner's parts with a mistaken champion in place."""

    settings: Settings
    store: Store
    registry: Registry
    metrics: Metrics
    executor: Executor

    def run(self, fit: Fit, speed: RunSpeed = "head") -> RunAnswer:
        """Create a run, claim it and carry it out."""
        self.store.create_run(speed)
        claimed = self.store.claim_run("test")
        assert claimed is not None
        return self.executor.execute(claimed, fit)

    def check_sound(self) -> None:
        """Assert that the champion answers, every version is whole, and no run left anything behind."""
        assert Classifier.load(self.registry.path("champion")).predict(["positive"]).shape == (1, 3)
        for version in self.registry.versions():
            verify(self.registry.path(version))
        assert list(self.settings.home.runs.iterdir()) == []
