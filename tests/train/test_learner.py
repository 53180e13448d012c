"""The learner: one at a time, by a lease; whoever dies leaves a run marked failed and nothing half-made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from core.errors import StoreUnavailable
from core.metrics import Metrics
from core.registry import Registry
from core.schemas import CorrectionRequest, RunAnswer
from core.settings import Settings
from core.tracing import Tracing
from feedback.runs import RunEnd
from feedback.store import Store
from tests.train.toys import install_champion, write_bundle
from train import learner as module
from train.drift_process import DriftProcess
from train.execute import Fit, FitJob
from train.learner import LEASE, Learner
from train.run_traces import tell_run

_LONG_S = 60.0
_ROOT = Path(__file__).parents[2]


def _fit(job: FitJob) -> Path:
    folder = job.place.staging / "bundle"
    write_bundle(folder, mistaken=False, dataset=job.dataset, snapshot=job.snapshot)
    return folder


def _broken(_: FitJob) -> Path:
    raise ValueError("a defect")


@dataclass
class School:
    """A state folder with a champion, and learners over it."""

    settings: Settings
    store: Store

    def learner(self, fit: Fit = _fit, **changes: object) -> Learner:
        """Return a learner with a fit of the test's own."""
        return Learner(self.settings.model_copy(update=changes), self.store, fit, Metrics())

    def runs(self) -> list[RunAnswer]:
        """Return all runs, oldest first."""
        return self.store.runs().runs[::-1]


@pytest.fixture
def school(settings: Settings, store: Store) -> School:
    """Give a state folder with a mistaken champion."""
    install_champion(settings)
    return School(settings.model_copy(update={"learn_after_corrections": 0, "learn_back_off_s": 0.0}), store)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def test_without_work_nothing_is_done(school: School) -> None:
    learner = school.learner()
    assert not learner.look()
    assert school.runs() == []


def test_a_waiting_run_is_carried_out(school: School) -> None:
    school.store.create_run("head", note="please")
    learner = school.learner()
    assert learner.look()
    assert not learner.look()
    (run,) = school.runs()
    assert (run.state, run.version, run.promoted) == ("succeeded", "v2", True)


def test_runs_are_carried_out_in_order(school: School) -> None:
    first, second = school.store.create_run("head"), school.store.create_run("head")
    seen: list[str] = []

    def fit(job: FitJob) -> Path:
        seen.append(job.run_id)
        return _fit(job)

    learner = school.learner(fit)
    while learner.look():
        pass
    assert seen == [first.run_id, second.run_id]


def test_of_two_learners_one_works(school: School) -> None:
    first, second = school.learner(), school.learner()
    school.store.create_run("head")
    assert first.look()
    school.store.create_run("head")
    assert not second.look()
    assert first.look()
    assert [run.state for run in school.runs()] == ["succeeded", "succeeded"]


def test_the_run_of_a_dead_learner_is_failed_by_the_next(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(run: RunAnswer, _: Fit) -> RunAnswer:
        # As a process does that is killed in the middle of a fit: files are left, nothing is recorded.
        staging = school.settings.home.runs / run.run_id
        staging.mkdir()
        (staging / "half").write_text("a bundle", encoding="utf-8")
        raise _Killed

    lost = school.store.create_run("head")
    dying = school.learner()
    monkeypatch.setattr(dying._executor, "execute", die)
    with pytest.raises(_Killed):
        dying.look()
    waiting = school.store.create_run("head")
    heir = school.learner()
    assert not heir.look(), "the lease of the dead one still holds"
    school.store.release_lease(LEASE, dying._holder)
    assert heir.look()
    found = {run.run_id: run for run in school.runs()}
    assert (found[lost.run_id].state, found[lost.run_id].error) == ("failed", "the learner that was at it died")
    assert found[waiting.run_id].state == "succeeded"
    assert list(school.settings.home.runs.iterdir()) == []


class _Killed(BaseException):
    """What stands for a process that is no more."""


def test_enough_corrections_start_a_run_once(school: School) -> None:
    learner = school.learner(_broken, learn_after_corrections=2)
    school.store.add_correction(CorrectionRequest(text="one", label="neutral"))
    assert not learner.look()
    school.store.add_correction(CorrectionRequest(text="two", label="neutral"))
    assert learner.look()
    (run,) = school.runs()
    assert (run.state, run.trigger) == ("failed", "count")
    assert run.note is not None
    assert "2 corrections" in run.note
    assert not learner.look(), "a run that failed is not tried for ever"
    school.store.add_correction(CorrectionRequest(text="three", label="neutral"))
    assert not learner.look()
    school.store.add_correction(CorrectionRequest(text="four", label="neutral"))
    assert learner.look()


def test_a_schedule_starts_a_run_of_the_wanted_speed(school: School) -> None:
    learner = school.learner(learn_every_s=1e-6, learn_speed="full")
    assert learner.look()
    (run,) = school.runs()
    assert (run.trigger, run.speed, run.state) == ("schedule", "full", "succeeded")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make learners look, renew and expire quickly."""
    for name, value in (("_LOOK_EVERY_S", 0.01), ("_RENEW_S", 0.05), ("_LEASE_S", 5.0)):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def running(quick: None) -> Iterator[Callable[[Learner], threading.Thread]]:
    """Give a way to let learners run beside the test; they are stopped at its end."""
    started: list[tuple[Learner, threading.Thread]] = []

    def start(learner: Learner) -> threading.Thread:
        thread = threading.Thread(target=learner.run)
        thread.start()
        started.append((learner, thread))
        return thread

    yield start
    for learner, thread in started:
        learner.stop()
        thread.join(_LONG_S)
        assert not thread.is_alive()


class _Drift(DriftProcess):
    """Notes what it is told, and starts nothing."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.wanted: list[bool] = []
        self.closed = False

    def keep(self, *, wanted: bool) -> None:
        self.wanted.append(wanted)

    def close(self) -> None:
        self.closed = True


def test_drift_is_watched_by_the_learner_that_leads(school: School, running: Callable[[Learner], threading.Thread]) -> None:
    first, second = _Drift(school.settings), _Drift(school.settings)
    learners = [Learner(school.settings, school.store, _fit, Metrics(), drift=drift) for drift in (first, second)]
    thread = running(learners[0])
    _until(lambda: True in first.wanted)
    running(learners[1])
    _until(lambda: len(second.wanted) > 3)
    assert True not in second.wanted
    learners[0].stop()
    thread.join(_LONG_S)
    assert first.closed
    _until(lambda: True in second.wanted)


def test_a_running_learner_works_until_it_is_stopped(school: School, running: Callable[[Learner], threading.Thread]) -> None:
    learner = school.learner()
    thread = running(learner)
    run = school.store.create_run("head")
    _until(lambda: school.store.run(run.run_id).state == "succeeded")
    learner.stop()
    thread.join(_LONG_S)
    assert school.store.take_lease(LEASE, "another", 1.0), "the lease was given back"


def test_the_lease_is_renewed_during_a_long_fit(
    school: School, running: Callable[[Learner], threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEASE_S", 1.0)
    begun, go_on = threading.Event(), threading.Event()

    def fit(job: FitJob) -> Path:
        begun.set()
        assert go_on.wait(_LONG_S)
        return _fit(job)

    run = school.store.create_run("head")
    running(school.learner(fit))
    assert begun.wait(_LONG_S)
    rival = school.learner()
    patience = time.monotonic() + 2.0
    while time.monotonic() < patience:
        assert not rival.look()
        time.sleep(0.1)
    go_on.set()
    _until(lambda: school.store.run(run.run_id).state == "succeeded")


def test_the_metrics_follow_the_run_at_work_and_end_at_nought(
    school: School, running: Callable[[Learner], threading.Thread]
) -> None:
    go_on = threading.Event()

    def fit(job: FitJob) -> Path:
        measured = {"loss": 0.25, "examples_per_s": 30.0, "step": 4.0, "steps": 8.0}
        school.store.update_run(job.run_id, stage="fit", progress_ratio=0.5, remaining_s=9.0, metrics=measured)
        assert go_on.wait(_LONG_S)
        return _fit(job)

    metrics = Metrics()
    run = school.store.create_run("head")
    running(Learner(school.settings, school.store, fit, metrics))

    names = ("progress_ratio", "remaining_seconds", "loss", "pace", "steps")

    def shown() -> list[float | None]:
        return [metrics.registry.get_sample_value(f"hone_run_{name}") for name in names]

    _until(lambda: shown() == [0.5, 9.0, 0.25, 30.0, 4.0])
    go_on.set()
    _until(lambda: school.store.run(run.run_id).state == "succeeded" and shown() == [0.0] * len(names))


def test_a_store_that_is_away_is_waited_for(
    school: School, running: Callable[[Learner], threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = threading.Event()
    missed: list[str] = []
    really = school.store.finish_run

    def finish_run(run_id: str, end: RunEnd) -> RunAnswer:
        if away.is_set():
            missed.append(run_id)
            raise StoreUnavailable("away")
        return really(run_id, end)

    monkeypatch.setattr(school.store, "finish_run", finish_run)
    away.set()
    run = school.store.create_run("head")
    running(school.learner())
    _until(lambda: len(missed) > 2)
    assert school.store.run(run.run_id).state == "running"
    away.clear()
    _until(lambda: school.store.run(run.run_id).state == "succeeded")
    next_run = school.store.create_run("head")
    _until(lambda: school.store.run(next_run.run_id).state == "succeeded")
    assert set(missed) == {run.run_id}


def test_a_learner_that_lost_its_run_goes_on(school: School, running: Callable[[Learner], threading.Thread]) -> None:
    def fit(job: FitJob) -> Path:
        if job.run_id == lost.run_id:
            school.store.finish_run(lost.run_id, RunEnd("failed", error="given up"))
        return _fit(job)

    lost = school.store.create_run("head")
    running(school.learner(fit))
    _until(lambda: school.store.run(lost.run_id).state == "failed")
    after = school.store.create_run("head")
    _until(lambda: school.store.run(after.run_id).state == "succeeded")
    assert school.store.run(lost.run_id).error == "given up"


_SLOW_LEARNER = """
import sys, time
from pathlib import Path
from core.metrics import Metrics
from core.settings import Settings
from feedback.store import Store
from train import learner as module

def slow(job):
    (job.place.staging / "half").write_text("a bundle")
    Path(sys.argv[1]).touch()
    time.sleep(600)

module._LEASE_S, module._RENEW_S, module._LOOK_EVERY_S = 2.0, 0.2, 0.05
settings = Settings()
module.Learner(settings, Store(settings.sqlalchemy_url), slow, Metrics()).run()
"""


@pytest.mark.integration
def test_a_killed_learner_leaves_a_failed_run_and_no_version(school: School, tmp_path: Path, quick: None) -> None:
    at_work = tmp_path / "at-work"
    run = school.store.create_run("head")
    environment = {**os.environ, "HONE_HOME": str(school.settings.home.root), "HONE_LEARN_AFTER_CORRECTIONS": "0"}
    process = subprocess.Popen([sys.executable, "-c", _SLOW_LEARNER, str(at_work)], env=environment, cwd=_ROOT)
    try:
        _until(at_work.exists)
        heir = school.learner()
        assert not heir.look()
        assert school.store.run(run.run_id).state == "running"
        process.send_signal(signal.SIGKILL)
        process.wait()
        _until(lambda: not heir.look() and school.store.run(run.run_id).state != "running")
    finally:
        process.kill()
        process.wait()
    found = school.store.run(run.run_id)
    assert (found.state, found.error, found.version) == ("failed", "the learner that was at it died", None)
    registry = Registry(school.settings.home.registry)
    assert (registry.versions(), registry.aliases().champion) == (["v1"], "v1")
    assert list(school.settings.home.runs.iterdir()) == []
    school.store.create_run("head")
    assert heir.look()
    assert registry.aliases().champion == "v2"


@pytest.mark.integration
def test_the_process_gives_its_lease_back_when_told_to_end(school: School) -> None:
    orphan = school.store.create_run("head")
    school.store.claim_run("somebody who died")
    environment = {**os.environ, "HONE_HOME": str(school.settings.home.root), "HONE_LEARN_AFTER_CORRECTIONS": "0"}
    process = subprocess.Popen([sys.executable, "-m", "train.learner"], env=environment, cwd=_ROOT)
    try:
        # That it fails a dead learner's run says that it leads.
        _until(lambda: school.store.run(orphan.run_id).state == "failed")
        process.terminate()
        assert process.wait(_LONG_S) == 0
    finally:
        process.kill()
        process.wait()
    assert school.store.take_lease(LEASE, "another", 1.0)


@pytest.mark.integration
def test_an_idle_learner_loads_neither_torch_nor_ray() -> None:
    code = "import sys, train.learner; print(*(name for name in ('torch', 'transformers', 'ray') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_run_is_told_as_a_trace_with_its_parts(school: School) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing.through(exporter, 1.0, "hone-learner")
    learner = Learner(school.settings, school.store, _fit, Metrics(), tell=partial(tell_run, tracing))
    school.store.create_run("head", "manual", None)
    school.store.add_correction(CorrectionRequest(text="a secret of mine", label="negative"))
    assert learner.look()
    tracing.close()
    *parts, whole = exporter.get_finished_spans()
    run = school.runs()[-1]
    assert (whole.name, run.state) == ("run head", "succeeded")
    assert whole.attributes is not None
    assert (whole.attributes["hone.run_id"], whole.attributes["hone.version"]) == (run.run_id, run.version)
    assert [part.name for part in parts] == ["snapshot", "fit", "gate", "register"]
    assert whole.context is not None
    assert {part.parent.span_id for part in parts if part.parent is not None} == {whole.context.span_id}
    assert "secret" not in "".join(span.to_json() for span in (whole, *parts))
