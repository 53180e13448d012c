"""The run at the end of a step: asked for as ``hone learn`` asks, carried out in this process, and what it came to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from core.errors import LeaseHeld
from core.registries import registry_of
from core.schemas import LIVE_STATES, RunAnswer, RunSpeed
from core.settings import Settings
from deploy.simulate.records import RunRecord
from deploy.simulate.spending import Spending
from deploy.simulate.stream import Row
from deploy.simulate.workplace import Work
from feedback.store import Store
from train.learn import Wish, learn_once
from train.progress import Report

# The lease of a simulation that was killed runs out by then.
_LEASE_ENDS_S = 40.0


def learn(
    work: Work, settings: Settings, speed: RunSpeed, name: str, tests: Mapping[str, Sequence[Row]], progress: Report
) -> RunRecord:
    """Return what came of the run of the step called ``name``; one that ended before a kill is not repeated."""
    note = f"step {name}"
    spent = Spending()
    run = _ended(settings, note)
    if run is None:
        with spent:
            run = _learn(settings, speed, note, progress)
    elif run.started_at and run.ended_at:
        spent.wall_s = (run.ended_at - run.started_at).total_seconds()
    return _record(work, settings, run, speed, tests, spent)


def _ended(settings: Settings, note: str) -> RunAnswer | None:
    store = Store.of(settings)
    try:
        runs = [run for run in store.runs(limit=1000).runs if run.note == note]
    finally:
        store.close()
    return next((run for run in runs if run.state not in (*LIVE_STATES, "failed")), None)


def _learn(settings: Settings, speed: RunSpeed, note: str, progress: Report) -> RunAnswer:
    end = time.monotonic() + _LEASE_ENDS_S
    while True:
        try:
            return learn_once(settings, Wish(speed, note), progress=progress)
        except LeaseHeld:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def _record(
    work: Work, settings: Settings, run: RunAnswer, speed: str, tests: Mapping[str, Sequence[Row]], spent: Spending
) -> RunRecord:
    cost = {"wall_s": round(spent.wall_s, 3), "cpu_s": round(spent.cpu_s, 3)}
    if run.version is None:
        return RunRecord(speed=speed, state=run.state, summary=run.error or run.stage or "", why=run.why or "", **cost)
    registry = registry_of(settings)
    decision, manifest = registry.decision(run.version), registry.manifest(run.version)
    return RunRecord(
        speed=speed,
        state=run.state,
        trained=run.chosen or manifest.lineage.speed,
        version=run.version,
        promoted=bool(run.promoted),
        summary=decision.summary if decision else "",
        failed_rules=tuple(rule.name for rule in decision.rules if not rule.passed) if decision else (),
        why=run.why or "",
        tests=work.measure(registry.path(run.version), manifest.labels, tests),
        **cost,
    )
