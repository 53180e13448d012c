"""What one replica is made of, put together from settings; nothing here starts before :func:`serve.lifecycle.running`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.discretion import Discretion
from core.metrics import Metrics
from core.registry import Registry
from core.rollouts import Rollouts
from core.schemas import now
from core.settings import Settings
from feedback.log_policy import LogPolicy
from feedback.prediction_log import PredictionLog
from feedback.store import Store
from serve.admission import Admission, QueueLimits
from serve.batching import Batcher
from serve.challenge_watch import ChallengeWatch
from serve.explaining import Explainer
from serve.key_watcher import KeyWatcher
from serve.label_door import LabelDoor
from serve.loading import TURN_S, BundleLoader
from serve.predicting import Predictor
from serve.probation_watch import ProbationWatch
from serve.rollout_book import RolloutBook
from serve.slot import ModelSlot
from serve.store_calls import StoreCalls
from serve.swap import ChampionWatcher, Pace
from serve.traffic import Traffic
from serve.waiting import BatchBudget


@dataclass(frozen=True)
class Parts:
    """One replica. ``metrics_dir`` is where the stack's processes share their counters; None keeps them in this process."""

    settings: Settings
    metrics: Metrics
    metrics_dir: Path | None
    replica_id: str
    started_at: datetime
    registry: Registry
    slot: ModelSlot
    rollouts: Rollouts
    watcher: ChampionWatcher
    probation_watch: ProbationWatch
    # None where no challenger answers or looks on.
    challenge_watch: ChallengeWatch | None
    batcher: Batcher
    predictor: Predictor
    store: StoreCalls
    labels: LabelDoor
    log: PredictionLog | None
    log_store: Store
    # None where requests take no key.
    key_watcher: KeyWatcher | None


def assemble(settings: Settings, metrics_dir: Path | None, replica_id: str) -> Parts:
    """Return the parts of one replica; the store may be down, the registry empty."""
    metrics = Metrics()
    registry = Registry(settings.home.registry)
    # Connections of its own: calls that hang on the routes' side must not keep predictions from being written.
    log_store = Store.of(settings)
    slot = ModelSlot()
    store = StoreCalls(Store.of(settings))
    budget = BatchBudget(settings.batch_max_texts, settings.batch_max_tokens)
    limits = QueueLimits(settings.queue_max_texts, settings.queue_max_wait_s, settings.overload_wait_s)
    batcher = Batcher(budget, Admission(limits), metrics, max_request_tokens=settings.max_request_tokens)
    explainer = Explainer(batcher, max_texts=settings.explain_max_texts, evaluations=settings.explain_budget_texts)
    log = _prediction_log(settings, log_store, metrics) if settings.log_predictions else None

    cache, threads = settings.home.cache, settings.engine_threads
    load = BundleLoader(cache, threads, settings.load_timeout_s, settings.memory_reserve_bytes)
    rollouts = Rollouts(settings.home.registry)
    book = RolloutBook(rollouts, replica_id, metrics)
    # A new encoder waits for its turn, is tried in a process of its own and then loaded here, and each may take its time.
    pace = Pace(settings.swap_poll_s, TURN_S + 2 * settings.load_timeout_s)
    watcher = ChampionWatcher(slot, registry, load, book, pace)

    challenged = settings.canary_ratio > 0 or settings.shadow_ratio > 0
    return Parts(
        settings=settings,
        metrics=metrics,
        metrics_dir=metrics_dir,
        replica_id=replica_id,
        started_at=now(),
        registry=registry,
        slot=slot,
        rollouts=rollouts,
        watcher=watcher,
        probation_watch=ProbationWatch(slot, registry, watcher, book, settings),
        challenge_watch=ChallengeWatch(slot, registry, watcher, book, settings) if challenged else None,
        batcher=batcher,
        predictor=Predictor(Traffic(slot, metrics, settings), batcher, explainer, log, metrics, Discretion.of(settings)),
        store=store,
        labels=LabelDoor(slot, store),
        log=log,
        log_store=log_store,
        key_watcher=KeyWatcher(settings.home.keys) if settings.authenticated else None,
    )


def _prediction_log(settings: Settings, store: Store, metrics: Metrics) -> PredictionLog:
    return PredictionLog(
        store,
        settings.home.spool,
        queue_rows=settings.log_queue_rows,
        spool_max_bytes=settings.spool_max_bytes,
        policy=_log_policy(settings),
        on_event=lambda outcome, rows: metrics.count("hone_log_rows_total", rows, outcome=outcome),
    )


def _log_policy(settings: Settings) -> LogPolicy:
    redact = settings.redactor.redact if settings.log_text != "full" else None
    return LogPolicy(settings.log_sample_ratio, settings.log_text, redact)
