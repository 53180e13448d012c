"""Whatever breaks during a run, a champion answers, no half version is left, and the run hears of its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.classifier import Classifier
from core.errors import StoreUnavailable
from core.privacy_bodies import ErasureRequest
from core.schemas import CorrectionRequest, RunAnswer
from feedback.erasing import erase
from feedback.runs import RunEnd
from tests.train.bench import Bench, fit_well
from train.execute import FitJob

_TEXT = "a secret text"

_STEPS: list[str] = [
    "train.execute.BaseDataset.load",
    "train.execute.build_snapshot",
    "train.execute.Snapshot.save",
    "train.execute.judge_candidate",
    "train.judging.decide",
    "train.execute.read_manifest",
    "core.registry.verify",
    "core.registry.write_atomically",
    "core.registry.os.rename",
    "core.registry.sync_folder",
    "core.registry.Registry._set",
    "core.registry.Registry.record",
    "core.registry.Registry.promote",
    "core.metrics.Metrics.set",
]


@pytest.mark.parametrize("step", _STEPS)
def test_a_crash_at_any_step_leaves_a_champion_and_no_half_version(
    bench: Bench, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError(_TEXT)

    with monkeypatch.context() as patched:
        if step == "core.metrics.Metrics.set":
            patched.setattr(bench.metrics, "set", _once(bench.metrics.set, crash))
        else:
            patched.setattr(step, crash)
        run = bench.run(fit_well)
    assert (run.state, run.error) == ("failed", "unexpected RuntimeError; see the learner's log")
    bench.check_sound()
    again = bench.run(fit_well)
    assert again.state == "succeeded"
    champion = Classifier.load(bench.registry.path("champion"))
    assert champion.manifest.labels[int(champion.predict(["neutral"]).argmax())] == "neutral"
    bench.check_sound()


def _once(really: Callable[..., None], first: Callable[..., None]) -> Callable[..., None]:
    """Return a function that does ``first`` at its first call and ``really`` from then on."""
    calls: list[int] = []

    def do(*given: object, **named: object) -> None:
        calls.append(1)
        (first if len(calls) == 1 else really)(*given, **named)

    return do


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_store_that_is_away_for_a_moment_fails_the_run_at_most(
    bench: Bench, stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    really = bench.store.update_run

    def update_run(run_id: str, **changes: object) -> RunAnswer:
        calls.append(1)
        if len(calls) == stage:
            raise StoreUnavailable("away")
        return really(run_id, **changes)  # type: ignore[arg-type] # handed on as they came

    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "update_run", update_run)
        run = bench.run(fit_well)
    assert (run.state, run.error) == ("failed", "away")
    assert bench.registry.versions() == ["v1"]
    bench.check_sound()
    assert bench.run(fit_well).state == "succeeded"


def test_an_end_the_store_did_not_hear_of_is_told_it_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(run_id: str, end: RunEnd) -> RunAnswer:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "finish_run", away)
        with pytest.raises(StoreUnavailable):
            bench.run(fit_well)
        with pytest.raises(StoreUnavailable):
            bench.executor.settle()
    found = bench.store.last_run()
    assert found is not None
    assert found.state == "running"
    bench.executor.settle()
    ended = bench.store.run(found.run_id)
    assert (ended.state, ended.version, ended.promoted) == ("succeeded", "v2", True)
    bench.executor.settle()
    bench.check_sound()


def test_a_store_that_is_away_does_not_hide_a_wish_to_stop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(run_id: str, end: RunEnd) -> RunAnswer:
        raise StoreUnavailable("away")

    def fit(_: FitJob) -> Path:
        raise SystemExit(0)

    monkeypatch.setattr(bench.store, "finish_run", away)
    with pytest.raises(SystemExit):
        bench.run(fit)


def test_a_run_given_up_by_another_learner_registers_nothing(bench: Bench) -> None:
    def fit(job: FitJob) -> Path:
        assert bench.store.fail_orphans("its learner died") == [job.run_id]
        return fit_well(job)

    run = bench.run(fit)
    assert (run.state, run.error) == ("failed", "its learner died")
    assert bench.registry.versions() == ["v1"]
    bench.check_sound()


def test_a_run_that_may_have_seen_what_was_erased_registers_nothing(bench: Bench) -> None:
    bench.store.add_correction(CorrectionRequest(text=_TEXT, label="negative"))

    def erased_meanwhile(job: FitJob) -> Path:
        erase(bench.store, bench.settings, ErasureRequest(text=_TEXT), "test")
        return fit_well(job)

    run = bench.run(erased_meanwhile)
    assert (run.state, run.version) == ("cancelled", None)
    assert bench.registry.versions() == ["v1"]
    kept = b"".join(path.read_bytes() for path in bench.settings.home.snapshots.rglob("*") if path.is_file())
    assert _TEXT.encode() not in kept
    bench.check_sound()
