"""From the prediction log to an alarm, a run and a report, over a real bundle and a real store."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import IO
from uuid import uuid4

import numpy as np
import psutil
import pytest

from core.drift.profile import Profile, common_words, read_profile
from core.drift.samples import Sample, measure_texts
from core.drift_bodies import DriftAnswer, ReferenceRequest
from core.errors import Conflict, NotFound
from core.metrics import Metrics
from core.ngrams import words_of
from core.registry import Registry
from core.schemas import CorrectionRequest, PredictionRecord, TextKept, now
from core.settings import Settings
from core.text import text_key
from feedback.drift_report import drift_of, why_of
from feedback.drift_windows import LATE
from feedback.store import Store
from tests.bundles import LABELS, write_ngram_bundle
from train.drift_process import DriftProcess
from train.drift_watch import DriftWatcher
from train.execute import FitJob
from train.learner import Learner

_ROWS = 120


def _no_fit(_: FitJob) -> Path:
    raise ValueError("a defect")


def _answers(seed: int, rows: int, weights: tuple[float, float, float], extra: str = "") -> list[tuple[str, str, float]]:
    random = np.random.default_rng(seed)
    labels = random.choice(LABELS, rows, p=weights)
    words = ["this", "was", "what", "we", "all", "had", "asked", "you", "for", "long", "ago"]
    texts = [" ".join([*random.choice(words, random.integers(5, 9)), str(label), extra]).strip() for label in labels]
    return [(text, str(label), float(p)) for text, label, p in zip(texts, labels, random.beta(9, 2, rows), strict=True)]


@pytest.fixture
def watched(settings: Settings) -> Settings:
    """Give settings with a champion that has a profile, and small windows."""
    rows = _answers(0, 400, (0.3, 0.3, 0.4))
    texts = [text for text, _, _ in rows]
    measured = measure_texts(texts, set(LABELS).__contains__)
    confidences = np.array([p for _, _, p in rows], dtype=np.float32)
    sample = Sample(tuple(label for _, label, _ in rows), confidences, measured)
    right = np.random.default_rng(1).random(400) < confidences
    staged = settings.home.runs / "staged"
    write_ngram_bundle(staged, profile=Profile(sample, right, common_words(map(words_of, texts), 400)))
    registry = Registry(settings.home.registry)
    registry.promote(registry.register(staged, None, by="test", why="a fixture"), by="test", why="a fixture")
    return settings.model_copy(update={"drift_window_rows": _ROWS})


def _log(store: Store, answers: list[tuple[str, str, float]], kept: TextKept = "full", *, later_s: int = 0) -> None:
    start = now() - LATE - timedelta(hours=1) + timedelta(seconds=later_s)
    store.log_predictions(
        [
            PredictionRecord(
                prediction_id=f"p_{uuid4().hex}",
                created_at=start + timedelta(seconds=place),
                text=text if kept == "full" else "",
                text_key=text_key(text) if kept != "none" else "",
                label=label,
                score=score,
                model_version="v1",
                source="head",
                metadata={"shop": "new"} if place % 2 else None,
                text_kept=kept,
            )
            for place, (text, label, score) in enumerate(answers)
        ]
    )


def _look(settings: Settings, store: Store) -> tuple[DriftAnswer, Metrics]:
    metrics = Metrics()
    assert DriftWatcher(settings, store, metrics).look()
    return drift_of(store, settings, 10), metrics


def test_traffic_like_the_held_out_rows_is_quiet_and_its_accuracy_is_guessed(watched: Settings, store: Store) -> None:
    _log(store, _answers(2, _ROWS, (0.3, 0.3, 0.4)))
    found, metrics = _look(watched, store)
    assert (found.state, found.alarms, found.windows[0].texts) == ("quiet", [], _ROWS)
    verdicts = {item.detector: item.verdict for item in found.windows[0].findings}
    # Without an encoder there is no embedding, and nothing was audited.
    assert {name for name, verdict in verdicts.items() if verdict == "unknown"} == {"embedding", "shortfall", "errors"}
    guess = found.windows[0].estimate
    assert guess is not None
    assert guess.low <= 0.82 <= guess.high
    value = metrics.registry.get_sample_value("hone_estimated_accuracy_ratio", {"version": "v1", "bound": "accuracy"})
    assert value == guess.accuracy
    # The next window is guessed in another way where the operator says so.
    _log(store, _answers(3, _ROWS, (0.3, 0.3, 0.4)), later_s=1_000)
    otherwise, _ = _look(watched.model_copy(update={"drift_estimator": "atc"}), store)
    again = otherwise.windows[0].estimate
    profile = read_profile(Registry(watched.home.registry).path("v1"))
    assert again is not None
    assert profile is not None
    above = np.quantile(profile.sample.confidences, 1.0 - profile.right.mean())
    scores = [record.score for record in store.window_records(otherwise.windows[0].window_id)[1]]
    assert again.accuracy == pytest.approx(np.mean(np.array(scores) >= above), abs=0.01)


def test_another_mix_of_answers_raises_an_alarm_and_why_says_what_moved(watched: Settings, store: Store) -> None:
    _log(store, _answers(3, _ROWS, (0.8, 0.1, 0.1), extra="refund"))
    found, metrics = _look(watched, store)
    assert found.state == "drift"
    assert {"label_psi", "label_js"} <= set(found.alarms[0].detectors)
    assert metrics.registry.get_sample_value("hone_drift_alarms_total", {"detector": "label_psi"}) == 1
    why = why_of(store, watched, found.windows[0].window_id)
    assert why.classes[0].name == "negative"
    assert why.words[0].name == "refund"
    assert why.examples[0].text.endswith("refund")
    assert "shop = new" in {item.name for item in why.slices}


@pytest.mark.parametrize("kept", ["hash", "none"])
def test_where_texts_are_not_kept_only_outputs_are_watched_and_that_is_said(
    watched: Settings, store: Store, kept: TextKept
) -> None:
    _log(store, _answers(4, _ROWS, (0.8, 0.1, 0.1)), kept)
    found, _ = _look(watched, store)
    assert found.state == "drift"
    assert "only outputs are watched" in found.why
    verdicts = {item.detector: item.verdict for item in found.windows[0].findings}
    assert verdicts["length"] == verdicts["language"] == "unknown"
    assert why_of(store, watched, found.windows[0].window_id).examples == []


def test_a_version_without_a_profile_is_unknown_and_says_so(settings: Settings, store: Store) -> None:
    registry = Registry(settings.home.registry)
    staged = settings.home.runs / "staged"
    write_ngram_bundle(staged)
    registry.promote(registry.register(staged, None, by="test", why="a fixture"), by="test", why="a fixture")
    _log(store, _answers(5, _ROWS, (0.8, 0.1, 0.1)))
    found, _ = _look(settings.model_copy(update={"drift_window_rows": _ROWS}), store)
    assert (found.state, found.alarms) == ("unknown", [])
    assert "profile" in found.why


def test_an_incomplete_window_is_left_alone(watched: Settings, store: Store) -> None:
    _log(store, _answers(6, _ROWS - 1, (0.3, 0.3, 0.4)))
    assert not DriftWatcher(watched, store, Metrics()).look()
    assert drift_of(store, watched, 10).waiting_rows == _ROWS - 1


def test_answers_that_audits_find_wrong_raise_an_alarm_though_nothing_else_moved(watched: Settings, store: Store) -> None:
    """Concept drift: texts and scores are as ever, but what is right for them has changed."""
    _log(store, _answers(7, _ROWS, (0.3, 0.3, 0.4)))
    store.draw_audit(1.0, None)
    for item in store.next_review("ann", 100, {"audit": 1.0, "suspect": 0.0, "uncertain": 0.0}, 60.0).items:
        store.finish_review(item.item_id, "ann", "neutral")
    found, metrics = _look(watched, store)
    verdicts = {item.detector: item.verdict for item in found.windows[0].findings}
    assert verdicts.pop("shortfall") == "drift"
    assert "drift" not in {verdicts[name] for name in ("label_psi", "label_js", "confidence", "length")}
    gap = metrics.registry.get_sample_value("hone_accuracy_gap_ratio", {"version": "v1"})
    assert gap is None
    DriftWatcher(watched, store, metrics).look()
    gap = metrics.registry.get_sample_value("hone_accuracy_gap_ratio", {"version": "v1"})
    assert gap is not None
    assert gap > 0.2


def test_a_window_that_is_made_the_reference_is_what_traffic_is_compared_with(watched: Settings, store: Store) -> None:
    metrics = Metrics()
    watcher = DriftWatcher(watched, store, metrics)

    def look(seed: int, later_s: int, weights: tuple[float, float, float]) -> DriftAnswer:
        _log(store, _answers(seed, _ROWS, weights, extra="refund"), later_s=later_s)
        assert watcher.look()
        return drift_of(store, watched, 10)

    moved = look(3, 0, (0.8, 0.1, 0.1))
    assert (moved.state, moved.alarms[0].state, moved.reference) == ("drift", "open", None)
    window_id = moved.windows[0].window_id
    said = ReferenceRequest(window_id=window_id, by="ada", why="a new shop")
    assert store.set_drift_reference("v1", said, "ada (k_1)").window_id == window_id
    entry = store.trail_entries().entries[0]
    assert (entry.actor, entry.action, entry.target) == ("ada (k_1)", "set drift reference", "v1")
    assert entry.details == {"window_id": window_id, "by": "ada", "why": "a new shop"}
    assert store.drift_alarms()[0].state == "acknowledged"

    like = look(13, 600, (0.8, 0.1, 0.1))
    assert like.state == "quiet"
    assert like.reference is not None
    assert like.reference.decided_by == "ada"
    assert why_of(store, watched, like.windows[0].window_id).words[0].impact < 0.1
    # The window before it was looked at against the held-out rows, and that is what its page still says.
    assert why_of(store, watched, window_id).words[0].name == "refund"
    # Quiet against the old reference, and drift against the new one.
    assert look(14, 1200, (0.3, 0.3, 0.4)).state == "drift"

    store.set_drift_reference("v1", ReferenceRequest(window_id=None), "local")
    back = look(15, 1800, (0.8, 0.1, 0.1))
    assert (back.reference, back.state) == (None, "drift")


def test_only_a_window_of_the_version_itself_can_be_its_reference(watched: Settings, store: Store) -> None:
    _log(store, _answers(3, _ROWS, (0.8, 0.1, 0.1)))
    window_id = _look(watched, store)[0].windows[0].window_id
    with pytest.raises(NotFound):
        store.set_drift_reference("v1", ReferenceRequest(window_id="w_nowhere"), "local")
    with pytest.raises(Conflict, match="v1"):
        store.set_drift_reference("v2", ReferenceRequest(window_id=window_id), "local")
    assert store.trail_entries().entries == []


def test_a_run_that_started_for_another_reason_answers_the_alarm_and_is_not_said_to_be_started_by_it(
    watched: Settings, store: Store
) -> None:
    _log(store, _answers(8, _ROWS, (0.8, 0.1, 0.1)))
    assert _look(watched, store)[0].state == "drift"
    store.add_correction(CorrectionRequest(text="another text", label="negative"))
    assert Learner(watched.model_copy(update={"learn_after_corrections": 1}), store, _no_fit, Metrics()).look()
    run, alarm = store.last_run(), store.drift_alarms()[0]
    assert run is not None
    assert (run.trigger, alarm.state, alarm.run_id) == ("count", "answered", run.run_id)
    assert store.known_drift().keys() == alarm.detectors.keys()


def test_an_alarm_starts_a_run_once_there_is_something_new_to_learn_from(watched: Settings, store: Store) -> None:
    _log(store, _answers(8, _ROWS, (0.8, 0.1, 0.1)))
    assert _look(watched, store)[0].state == "drift"
    learner = Learner(watched, store, _no_fit, Metrics())
    assert not learner.look()
    store.add_correction(CorrectionRequest(text="another text", label="negative"))
    assert learner.look()
    run = store.last_run()
    assert run is not None
    assert run.trigger == "drift"
    alarm = store.drift_alarms()[0]
    assert (alarm.state, alarm.run_id) == ("handled", run.run_id)


_LONG_S = 60.0
_OFTEN = "from train import drift_process, drift_watch; drift_watch.LOOK_EVERY_S = 0.05; drift_process.main()"


def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LONG_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _pid_of(process: DriftProcess) -> int:
    assert process.pid is not None
    return process.pid


@pytest.mark.integration
def test_windows_are_looked_at_by_a_process_that_gives_way(watched: Settings, store: Store) -> None:
    _log(store, _answers(2, _ROWS, (0.3, 0.3, 0.4)))
    process = DriftProcess(watched, [sys.executable, "-c", _OFTEN])
    process.keep(wanted=True)
    try:
        first = _pid_of(process)
        _until(lambda: bool(drift_of(store, watched, 10).windows))
        assert os.getsid(first) == first, "Linux may share out processors by session"
        assert psutil.Process(first).nice() == watched.learn_nice == 19
        assert os.sched_getscheduler(first) == os.SCHED_IDLE
        process.keep(wanted=True)
        assert _pid_of(process) == first
        process.keep(wanted=False)
        assert process.pid is None
        assert not psutil.pid_exists(first)
    finally:
        process.close()


@pytest.mark.integration
def test_the_process_ends_with_its_learner(watched: Settings, tmp_path: Path) -> None:
    learner = f"""
import os, sys
from core.settings import Settings
from train.drift_process import DriftProcess
process = DriftProcess(Settings(), [sys.executable, "-c", {_OFTEN!r}])
process.keep(wanted=True)
print(process.pid, flush=True)
os._exit(9)
"""
    environment = {**os.environ, "HONE_HOME": str(watched.home.root)}
    done = subprocess.run(
        [sys.executable, "-c", learner], env=environment, stdout=subprocess.PIPE, check=False, timeout=_LONG_S
    )
    _until(lambda: not psutil.pid_exists(int(done.stdout)))


def test_a_process_that_died_is_started_again_but_not_at_once(watched: Settings) -> None:
    dies = [sys.executable, "-c", "raise SystemExit(3)"]
    patient, eager = DriftProcess(watched, dies), DriftProcess(watched, dies, again_after_s=0.0)
    after = []
    for process in (patient, eager):
        process.keep(wanted=True)
        first = _pid_of(process)
        psutil.wait_procs([psutil.Process(first)], timeout=_LONG_S)
        process.keep(wanted=True)
        after.append((first, process.pid))
        process.close()
    assert after[0][1] is None
    assert after[1][1] not in (None, after[1][0])


def test_a_process_that_died_before_it_was_told_anything_is_no_error(
    watched: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process = DriftProcess(watched, [sys.executable, "-c", ""])
    write = pickle.dump

    def late(settings: Settings, told: IO[bytes]) -> None:
        psutil.wait_procs([psutil.Process(_pid_of(process))], timeout=_LONG_S)
        write(settings, told)

    monkeypatch.setattr(pickle, "dump", late)
    process.keep(wanted=True)
    assert "did not start" in caplog.text
    process.keep(wanted=True)
    assert process.pid is None


def test_where_no_windows_are_wanted_there_is_no_process(watched: Settings) -> None:
    process = DriftProcess(watched.model_copy(update={"drift_window_rows": 0}))
    process.keep(wanted=True)
    assert process.pid is None


def test_what_cannot_be_started_keeps_nobody_from_learning(watched: Settings, caplog: pytest.LogCaptureFixture) -> None:
    process = DriftProcess(watched, ["/no/such/program"])
    process.keep(wanted=True)
    assert process.pid is None
    assert "did not start" in caplog.text
