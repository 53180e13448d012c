"""Contract of runs, over every database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import RunNotActive, UnknownRun
from core.schemas import CorrectionRequest, RunAnswer
from feedback.runs import RunEnd
from feedback.store import Store


def _claim(store: Store, holder: str = "learner") -> RunAnswer:
    run = store.claim_run(holder)
    assert run is not None
    return run


def test_a_run_goes_from_queued_over_running_to_succeeded(store: Store) -> None:
    queued = store.create_run("head", "manual", "a note")
    assert (queued.state, queued.note, queued.started_at, queued.metrics) == ("queued", "a note", None, {})
    running = _claim(store)
    assert (running.run_id, running.state) == (queued.run_id, "running")
    assert running.started_at is not None
    assert running.created_at <= running.started_at
    store.update_run(running.run_id, stage="train", progress_ratio=0.5, remaining_s=12.0, metrics={"loss": 1.0, "rows": 9.0})
    halfway = store.update_run(running.run_id, metrics={"loss": 0.5})
    assert (halfway.stage, halfway.progress_ratio, halfway.remaining_s) == ("train", 0.5, 12.0)
    assert halfway.metrics == {"loss": 0.5, "rows": 9.0}
    assert store.update_run(running.run_id, progress_ratio=0.6).remaining_s is None
    ended = store.finish_run(running.run_id, RunEnd("succeeded", version="v2", promoted=True, snapshot="ab" * 32))
    assert (ended.state, ended.version, ended.promoted, ended.progress_ratio) == ("succeeded", "v2", True, 1.0)
    assert ended.ended_at is not None
    assert store.run(ended.run_id) == ended == store.last_run()


def test_runs_are_claimed_oldest_first_and_listed_newest_first(store: Store) -> None:
    assert store.last_run() is None
    assert store.claim_run("learner") is None
    made = [store.create_run("head", "count").run_id for _ in range(3)]
    assert [run.run_id for run in store.runs().runs] == made[::-1]
    assert [run.run_id for run in store.runs(limit=1).runs] == [made[2]]
    assert [_claim(store).run_id for _ in made] == made


def test_no_run_is_claimed_twice(store: Store) -> None:
    made = {store.create_run("head").run_id for _ in range(5)}
    with ThreadPoolExecutor(10) as pool:
        claimed = list(pool.map(lambda number: store.claim_run(f"learner {number}"), range(10)))
    assert sorted(run.run_id for run in claimed if run is not None) == sorted(made)


def test_unknown_runs_are_refused(store: Store) -> None:
    for call in (store.run, store.update_run, store.request_cancel, store.cancel_requested):
        with pytest.raises(UnknownRun):
            call("r_none")
    with pytest.raises(UnknownRun):
        store.finish_run("r_none", RunEnd("failed"))


def test_cancelling_depends_on_the_state(store: Store) -> None:
    queued = store.create_run("full").run_id
    cancelled = store.request_cancel(queued)
    assert cancelled.state == "cancelled"
    assert cancelled.ended_at is not None
    assert store.claim_run("learner") is None

    store.create_run("full")
    running = _claim(store).run_id
    assert not store.cancel_requested(running)
    assert store.request_cancel(running).state == "running"
    assert store.cancel_requested(running)
    store.finish_run(running, RunEnd("cancelled"))
    for ended in (queued, running):
        with pytest.raises(RunNotActive):
            store.request_cancel(ended)


def test_an_ended_run_is_not_changed_any_more(store: Store) -> None:
    run_id = store.create_run("head").run_id
    with pytest.raises(RunNotActive):
        store.update_run(run_id, stage="too early")
    _claim(store)
    store.finish_run(run_id, RunEnd("failed", error="out of memory"))
    with pytest.raises(RunNotActive):
        store.update_run(run_id, stage="too late")
    with pytest.raises(RunNotActive):
        store.finish_run(run_id, RunEnd("succeeded", version="v2"))
    assert store.run(run_id).error == "out of memory"


def test_orphans_are_the_running_runs_without_a_live_lease(store: Store) -> None:
    orphan = store.create_run("head").run_id
    _claim(store, "dead")
    cared_for = store.create_run("head").run_id
    _claim(store, "alive")
    waiting = store.create_run("head").run_id
    store.take_lease("other model", "dead", ttl_s=-1)
    store.take_lease("model", "alive", ttl_s=60)
    assert store.fail_orphans("the learner died") == [orphan]
    assert store.run(orphan).state == "failed"
    assert store.run(orphan).error == "the learner died"
    assert store.run(cared_for).state == "running"
    assert store.run(waiting).state == "queued"
    assert store.fail_orphans("the learner died") == []


def test_corrections_seen_moves_with_each_attempt(store: Store) -> None:
    assert store.corrections_seen() == 0
    store.add_correction(CorrectionRequest(text="a", label="x"))
    run = store.create_run("head")
    assert store.corrections_seen() == 1
    store.add_correction(CorrectionRequest(text="b", label="x"))
    _claim(store)
    assert store.corrections_seen() == 2
    store.add_correction(CorrectionRequest(text="c", label="x"))
    store.finish_run(run.run_id, RunEnd("failed", corrections_up_to=3))
    assert store.corrections_seen() == 3
    assert store.correction_count(store.corrections_seen()) == 0
