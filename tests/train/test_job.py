"""Carrying out a fit: progress in the run's record, a wish to stop, and the Ray Train job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
import torch

from core.bundle import read_manifest
from core.classifier import Classifier
from core.errors import HoneError, RunCancelled, RunNotActive, StoreUnavailable
from core.registry import Registry
from core.schemas import RunAnswer
from core.settings import Settings
from feedback.runs import RunEnd
from feedback.store import Store
from train import job as module
from train.execute import FitJob
from train.job import RayFit, StoreReport, fit_here
from train.progress import Pace, Progress, silent
from train.request import STAGES, FitRequest, Parent, Workplace


def _claimed(store: Store) -> RunAnswer:
    store.create_run("head")
    claimed = store.claim_run("test")
    assert claimed is not None
    return claimed


@pytest.fixture
def run(store: Store) -> RunAnswer:
    """Give a run that is under way."""
    return _claimed(store)


@pytest.fixture
def store_of_taught(taught: Settings) -> Iterator[Store]:
    """Give the store of the folder in which the toy data was taught."""
    opened = Store(taught.sqlalchemy_url)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time that reports go by, in seconds; it moves when the test says so."""
    moment = [1_000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    return moment


def test_progress_is_recorded_but_not_too_often(store: Store, run: RunAnswer, clock: list[float]) -> None:
    report = StoreReport(store, run.run_id)
    report(Progress("encode", 0.25, remaining_s=12.0))
    report(Progress("fit", 0.5))
    found = store.run(run.run_id)
    assert (found.stage, found.progress_ratio, found.remaining_s, found.metrics) == ("encode", 0.25, 12.0, {})
    clock[0] += 60.0
    report(Progress("finetune", 0.75, pace=Pace(0.123456, 9.0, step=3, steps=4)))
    found = store.run(run.run_id)
    assert (found.stage, found.progress_ratio, found.remaining_s) == ("finetune", 0.75, None)
    assert found.metrics == {"loss": pytest.approx(0.123456, abs=1e-4), "examples_per_s": 9.0, "step": 3, "steps": 4}


def test_a_wish_to_stop_is_heard_with_the_next_report(store: Store, run: RunAnswer, clock: list[float]) -> None:
    report = StoreReport(store, run.run_id)
    report(Progress("fit", 0.5))
    assert not report.cancelled()
    store.request_cancel(run.run_id)
    clock[0] += 60.0
    report(Progress("fit", 0.6))
    assert report.cancelled()


def test_a_store_that_is_away_for_a_moment_does_not_stop_the_run(
    store: Store, run: RunAnswer, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> RunAnswer:
        raise StoreUnavailable("away")

    report = StoreReport(store, run.run_id)
    with monkeypatch.context() as patched:
        patched.setattr(store, "update_run", away)
        report(Progress("fit", 0.5))
    assert not report.cancelled()
    clock[0] += 60.0
    report(Progress("fit", 0.6))
    assert store.run(run.run_id).progress_ratio == 0.6


def test_a_run_that_was_given_up_stops_its_fit(store: Store, run: RunAnswer) -> None:
    store.finish_run(run.run_id, RunEnd("failed", error="its learner died"))
    with pytest.raises(RunNotActive):
        StoreReport(store, run.run_id)(Progress("fit", 0.5))


def _job(settings: Settings, run_id: str = "r_test") -> FitJob:
    registry = Registry(settings.home.registry)
    lineage = registry.manifest("v1").lineage
    staging = settings.home.runs / run_id
    staging.mkdir()
    parent = Parent("v1", registry.path("v1"))
    place = Workplace(settings.home.cache, staging)
    return FitJob(run_id, settings, FitRequest(features="both"), lineage.snapshot, lineage.dataset, place, parent)


def test_a_job_is_carried_out_here(taught: Settings) -> None:
    folder = fit_here(_job(taught), silent, lambda: False)
    lineage = Classifier.load(folder).manifest.lineage
    assert (lineage.parent, lineage.run) == ("v1", "r_test")
    assert folder.is_relative_to(taught.home.runs / "r_test")


def test_a_wish_to_stop_ends_the_job(taught: Settings) -> None:
    with pytest.raises(RunCancelled):
        fit_here(_job(taught), silent, lambda: True)


def test_what_the_worker_left_is_the_outcome(taught: Settings) -> None:
    job = _job(taught)
    (job.place.staging / "bundle").write_text("bundle-1", encoding="utf-8")
    assert module._outcome(job) == job.place.staging / "bundle-1"
    (job.place.staging / "error").write_text("the file is missing", encoding="utf-8")
    with pytest.raises(HoneError, match="the file is missing"):
        module._outcome(job)
    (job.place.staging / "cancelled").write_text("stopped", encoding="utf-8")
    with pytest.raises(RunCancelled, match="stopped"):
        module._outcome(job)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Let this process stand for a Ray Train worker, without its niceness and its log; give what it reports."""
    import ray.train

    reported: list[object] = []
    monkeypatch.setattr(ray.train, "report", reported.append)
    monkeypatch.setattr(module, "give_way", lambda *_, **__: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(module, "configure_logging", lambda *_: None)
    return reported


def test_a_worker_hands_over_its_bundle(taught: Settings, store_of_taught: Store, worker: list[object]) -> None:
    run = _claimed(store_of_taught)
    job = _job(taught, run.run_id)
    module._train_loop({"job": job})
    assert Classifier.load(module._outcome(job)).manifest.lineage.run == run.run_id
    assert worker == [{"done": 1.0}]


def test_a_worker_hands_over_why_it_failed(taught: Settings, worker: list[object]) -> None:
    job = replace(_job(taught), snapshot="f" * 64)
    module._train_loop({"job": job})
    with pytest.raises(HoneError, match="is missing"):
        module._outcome(job)
    assert worker == [{"done": 1.0}]


def test_a_worker_hands_over_that_it_was_stopped(
    taught: Settings, store_of_taught: Store, worker: list[object], clock: list[float]
) -> None:
    run = _claimed(store_of_taught)
    job = _job(taught, run.run_id)
    store_of_taught.request_cancel(run.run_id)
    module._train_loop({"job": job})
    with pytest.raises(RunCancelled):
        module._outcome(job)


@pytest.fixture
def private_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start a Ray of this test's own, and end it by its handle."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    import ray

    # Sockets are made in there, and their paths may have about a hundred characters.
    with TemporaryDirectory(prefix="hone-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        ray.init(address="local", include_dashboard=False, num_cpus=2, _temp_dir=folder, log_to_driver=False)
        try:
            yield
        finally:
            ray.shutdown()


@pytest.mark.integration
def test_a_job_of_its_own_gives_a_bundle(taught: Settings, store_of_taught: Store, private_ray: None) -> None:
    run = _claimed(store_of_taught)
    folder = RayFit()(_job(taught, run.run_id))
    assert Classifier.load(folder).predict(["where is my card"]).shape == (1, 3)
    assert read_manifest(folder).lineage.run == run.run_id
    assert store_of_taught.run(run.run_id).stage in STAGES["head"]
    assert (taught.home.logs / "train.log").exists()
