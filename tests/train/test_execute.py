"""One run from claimed to ended: whatever goes wrong is recorded in it, and the champion keeps answering."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.bundle import HEAD, read_manifest
from core.errors import DataError, RunCancelled
from core.metrics import Metrics
from core.schemas import CorrectionRequest, RunSpeed
from core.settings import Settings
from core.telemetry import configure_logging
from core.text import split_of, text_key
from feedback.snapshot import Snapshot
from feedback.store import Store
from tests.train.bench import Bench, fit_as_before, fit_well
from tests.train.toys import write_bundle
from train.execute import Executor, Fit, FitJob

_TEXT = "a secret text"


def test_a_better_candidate_is_promoted(bench: Bench) -> None:
    run = bench.run(fit_well)
    assert (run.state, run.version, run.promoted, run.error) == ("succeeded", "v2", True, None)
    assert run.progress_ratio == 1.0
    assert run.ended_at is not None
    aliases = bench.registry.aliases()
    assert (aliases.champion, aliases.previous) == ("v2", "v1")
    decision = bench.registry.decision("v2")
    assert decision is not None
    assert (run.stage, decision.champion) == (decision.summary, "v1")
    assert run.metrics.items() >= read_manifest(bench.registry.path("v2")).metrics.items()
    assert run.snapshot is not None
    assert Snapshot.load(bench.settings.home.snapshots, run.snapshot).hash == run.snapshot
    bench.check_sound()


def test_metrics_tell_what_came_of_it(bench: Bench) -> None:
    bench.run(fit_well)
    value = bench.metrics.registry.get_sample_value
    assert value("hone_runs_total", {"speed": "head", "state": "succeeded"}) == 1
    assert value("hone_gate_decisions_total", {"promote": "true"}) == 1
    assert value("hone_run_seconds_count", {"speed": "head"}) == 1
    assert value("hone_holdout_accuracy_ratio", {"version": "v2"}) == 0.9
    assert value("hone_run_progress_ratio") == 0.0


def test_a_candidate_the_gate_refuses_is_kept_but_does_not_serve(bench: Bench) -> None:
    run = bench.run(fit_as_before)
    assert (run.state, run.version, run.promoted) == ("succeeded", "v2", False)
    aliases = bench.registry.aliases()
    assert (aliases.champion, aliases.challenger) == ("v1", "v2")
    bench.check_sound()


def test_a_candidate_that_a_person_has_to_sign_for_waits(bench: Bench) -> None:
    settings = bench.settings.model_copy(update={"gate_mode": "approve"})
    executor = Executor(settings, bench.store, bench.metrics)
    bench.store.create_run("head")
    claimed = bench.store.claim_run("test")
    assert claimed is not None
    run = executor.execute(claimed, fit_well)
    assert (run.state, run.version, run.promoted) == ("succeeded", "v2", None)
    assert bench.registry.aliases().champion == "v1"
    assert bench.registry.standing("v2") == "waiting"
    decision = bench.registry.decision("v2")
    assert decision is not None
    assert (decision.promote, decision.mode) == (True, "approve")
    bench.check_sound()


def test_the_job_holds_what_the_fit_needs(bench: Bench) -> None:
    seen: list[FitJob] = []

    def fit(job: FitJob) -> Path:
        seen.append(job)
        return fit_well(job)

    run = bench.run(fit)
    (job,) = seen
    lineage = read_manifest(bench.registry.path("v1")).lineage
    assert (job.run_id, job.dataset, job.snapshot) == (run.run_id, lineage.dataset, run.snapshot)
    assert (job.parent.version, job.parent.folder) == ("v1", bench.registry.path("v1"))
    assert job.request.speed == "head"
    assert job.request.features == "ngrams"
    assert job.place.staging.parent == bench.settings.home.runs / run.run_id


def test_corrections_reach_the_snapshot_and_name_the_version_that_learned(bench: Bench) -> None:
    text = next(text for text in (f"new {n} is neutral" for n in range(100)) if split_of(text_key(text)) == "train")
    bench.store.add_correction(CorrectionRequest(text=text, label="positive"))
    bench.store.add_correction(CorrectionRequest(text="number 0 is negative", label="outdated"))
    run = bench.run(fit_well)
    assert run.snapshot is not None
    examples = {example.text: example for example in Snapshot.load(bench.settings.home.snapshots, run.snapshot).examples}
    assert (examples[text].label, examples[text].weight) == ("positive", bench.settings.correction_weight)
    assert examples["number 0 is negative"].label == "negative"
    used = {found.label: found.used_by for found in bench.store.corrections().corrections}
    assert used == {"positive": ["v2"], "outdated": []}


@pytest.mark.parametrize("speed", ["head", "full"])
def test_what_is_kept_from_the_encoder_the_head_alone_has_learned(bench: Bench, speed: RunSpeed) -> None:
    text = next(text for text in (f"new {n} is neutral" for n in range(100)) if split_of(text_key(text)) == "test")
    bench.store.add_correction(CorrectionRequest(text=text, label="positive"))
    seen: list[FitJob] = []

    def fit(job: FitJob) -> Path:
        seen.append(job)
        return fit_well(job)

    bench.run(fit, speed)
    (job,) = seen
    assert text_key(text) in job.request.cross_fit
    (found,) = bench.store.corrections().corrections
    assert found.used_by == (["v2"] if speed == "head" else [])


def test_auto_fits_a_head_first_and_says_why_that_is_enough(bench: Bench) -> None:
    seen: list[FitJob] = []

    def fit(job: FitJob) -> Path:
        seen.append(job)
        return fit_well(job)

    bench.store.create_run("auto")
    claimed = bench.store.claim_run("test")
    assert claimed is not None
    run = bench.executor.execute(claimed, fit)
    assert [job.request.speed for job in seen] == ["head"]
    assert (run.state, run.speed, run.chosen, run.version) == ("succeeded", "auto", "head", "v2")
    assert run.why is not None
    assert run.why.startswith("head: ")
    bench.check_sound()


def test_a_learner_that_lost_its_lease_registers_nothing(bench: Bench) -> None:
    executor = Executor(bench.settings, bench.store, bench.metrics, lambda: False)
    bench.store.create_run("head")
    claimed = bench.store.claim_run("test")
    assert claimed is not None
    run = executor.execute(claimed, fit_well)
    assert run.state == "failed"
    assert "lease was lost" in (run.error or "")
    assert bench.registry.versions() == ["v1"]
    bench.check_sound()


def _refused(_: FitJob) -> Path:
    raise DataError("reviews.csv is missing")


def _defect(_: FitJob) -> Path:
    raise ValueError(f"cannot parse {_TEXT}")


def _full_disk(_: FitJob) -> Path:
    raise OSError(errno.ENOSPC, "No space left on device")


def _cancelled(_: FitJob) -> Path:
    raise RunCancelled("the run was stopped while it was at: fit")


def _altered(job: FitJob) -> Path:
    folder = fit_well(job)
    (folder / HEAD).write_bytes(b"altered")
    return folder


def _absent(job: FitJob) -> Path:
    return job.place.staging / "nothing"


@pytest.mark.parametrize(
    ("fit", "state", "error"),
    [
        (_refused, "failed", "reviews.csv is missing"),
        (_defect, "failed", "unexpected ValueError; see the learner's log"),
        (_full_disk, "failed", "the disk is full; make room"),
        (_cancelled, "cancelled", "the run was stopped while it was at: fit"),
        (_altered, "failed", "head.safetensors"),
        (_absent, "failed", "nothing is not a bundle"),
    ],
)
def test_a_fit_that_fails_ends_the_run_and_nothing_else(bench: Bench, fit: Fit, state: str, error: str) -> None:
    run = bench.run(fit)
    assert run.state == state
    assert run.error is not None
    assert error in run.error
    assert (run.version, run.promoted) == (None, None)
    assert bench.registry.versions() == ["v1"]
    bench.check_sound()
    assert bench.run(fit_well).promoted


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """Give the file that the ``hone`` loggers write to during this test."""
    logger = logging.getLogger("hone")
    before = (logger.handlers[:], logger.level, logger.propagate)
    configure_logging("DEBUG", tmp_path / "learner.log")
    try:
        yield tmp_path / "learner.log"
    finally:
        for handler in logger.handlers:
            handler.close()
        logger.handlers[:], logger.propagate = before[0], before[2]
        logger.setLevel(before[1])


def test_no_text_reaches_the_log(bench: Bench, log_file: Path) -> None:
    run = bench.run(_defect)
    logged = log_file.read_text(encoding="utf-8")
    assert run.run_id in logged
    assert "ValueError" in logged
    assert _TEXT not in logged
    assert run.error is not None
    assert _TEXT not in run.error


@pytest.mark.parametrize("stop", [SystemExit, KeyboardInterrupt])
def test_a_learner_told_to_stop_leaves_the_run_failed(bench: Bench, stop: type[BaseException]) -> None:
    def fit(job: FitJob) -> Path:
        (job.place.staging / "half").write_text("a bundle", encoding="utf-8")
        raise stop

    with pytest.raises(stop):
        bench.run(fit)
    run = bench.store.last_run()
    assert run is not None
    assert (run.state, run.error) == ("failed", "the learner was stopped")
    bench.check_sound()


def test_without_a_champion_there_is_nothing_to_learn_from(settings: Settings, store: Store) -> None:
    store.create_run("head")
    claimed = store.claim_run("test")
    assert claimed is not None
    run = Executor(settings, store, Metrics()).execute(claimed, fit_well)
    assert run.state == "failed"
    assert run.error is not None
    assert "hone train" in run.error


def test_a_lost_base_data_set_is_named(bench: Bench) -> None:
    shutil.rmtree(bench.settings.home.datasets)
    run = bench.run(fit_well)
    assert run.state == "failed"
    assert run.error is not None
    assert "train again from the original data" in run.error
    bench.check_sound()


def test_who_is_champion_when_the_fit_ends_is_the_one_to_beat(bench: Bench) -> None:
    def fit(job: FitJob) -> Path:
        staged = bench.settings.home.cache / "by hand"
        write_bundle(staged, mistaken=False, dataset=job.dataset, snapshot=job.snapshot)
        bench.registry.promote(bench.registry.register(staged, None, by="me", why="better"), by="me", why="better")
        return fit_well(job)

    run = bench.run(fit)
    decision = bench.registry.decision("v3")
    assert decision is not None
    assert (run.version, run.promoted, decision.champion) == ("v3", False, "v2")
    assert bench.registry.aliases().champion == "v2"
