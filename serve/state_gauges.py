"""Gauges of what is known rather than counted: versions, replicas, learner, spool; read now and then, off every path."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core.approvals import Approvals
from core.errors import BundleError
from core.gate import Looks
from core.metrics import Metrics
from core.registry import Registry
from core.schemas import now
from feedback.spool import Spool, SpoolExtent
from serve.store_view import StoreView

_STATES = ("starting", "loading", "serving", "failed")


@dataclass(frozen=True)
class DiskView:
    """What the state folder knows: since when the champion is champion, what waits in the spool, and for a signature.

    ``waiting_since`` is of the version that waits longest for one, ``looks`` of the latest that was judged on a holdout.
    """

    champion_since: datetime | None
    spool: SpoolExtent
    approvals_waiting: int = 0
    waiting_since: datetime | None = None
    looks: Looks | None = None


def read_disk(registry: Registry, spool: Spool) -> DiskView:
    """Return what the state folder knows now.

    Raises:
        OSError: it cannot be read.
    """
    history, waiting = registry.history(), Approvals(registry).waiting()
    moves = [move for move in history if move.action in ("promote", "rollback")]
    since = [move.at for move in history if move.action == "register" and move.version in waiting]
    return DiskView(
        champion_since=moves[-1].at if moves else None,
        spool=spool.extent(),
        approvals_waiting=len(waiting),
        waiting_since=min(since, default=None),
        looks=_latest_looks(registry),
    )


def _latest_looks(registry: Registry) -> Looks | None:
    for version in reversed(registry.versions()):
        try:
            decision = registry.decision(version)
        except BundleError:
            continue
        if decision is not None and decision.looks.holdout is not None:
            return decision.looks
    return None


def show_store(metrics: Metrics, view: StoreView) -> None:
    """Set the gauges that come from the store."""
    for version, outcome in view.outcomes.items():
        metrics.set("hone_labelled", outcome.right, version=version, outcome="right")
        metrics.set("hone_labelled", outcome.wrong, version=version, outcome="wrong")
        metrics.set("hone_live_accuracy_ratio", outcome.right / (outcome.right + outcome.wrong), version=version)
    counts = dict.fromkeys(_STATES, 0)
    for replica in view.replicas:
        counts[replica.state] += 1
    for state, count in counts.items():
        metrics.set("hone_replicas", count, state=state)
    metrics.set("hone_learner_up", float(view.learner_up))
    metrics.set("hone_corrections_unlearned", view.corrections_unlearned)
    run = view.last_run
    metrics.set("hone_run_active", float(run is not None and run.state in ("queued", "running")))
    if run is not None and run.ended_at is not None:
        metrics.set("hone_run_ended_timestamp_seconds", run.ended_at.timestamp())


def show_disk(metrics: Metrics, view: DiskView, spool_max_bytes: int) -> None:
    """Set the gauges that come from the state folder; ages are as of now."""
    if view.champion_since is not None:
        metrics.set("hone_champion_since_timestamp_seconds", view.champion_since.timestamp())
    metrics.set("hone_approvals_waiting", view.approvals_waiting)
    metrics.set("hone_approval_waiting_seconds", _age_s(view.waiting_since))
    if view.looks is not None:
        least = view.looks.least_gain_ratio
        metrics.set("hone_holdout_looks", view.looks.holdout_looks)
        metrics.set("hone_gate_least_gain_ratio", 1.0 if least is None else least)
        metrics.set("hone_holdout_worn", float(view.looks.worn and not view.looks.too_small))
    waiting = view.spool
    metrics.set("hone_spool_bytes", waiting.size_bytes)
    metrics.set("hone_spool_rows", waiting.rows)
    metrics.set("hone_spool_ratio", waiting.size_bytes / spool_max_bytes if spool_max_bytes else 0.0)
    metrics.set("hone_spool_age_seconds", _age_s(waiting.oldest_at))


def _age_s(moment: datetime | None) -> float:
    return 0.0 if moment is None else max(0.0, (now() - moment).total_seconds())
