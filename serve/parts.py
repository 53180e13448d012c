"""What one replica is made of, put together from settings; nothing here starts before :func:`serve.lifecycle.running`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.classifier import Classifier
from core.metrics import Metrics
from core.registry import Registry
from core.schemas import now
from core.settings import Settings
from feedback.prediction_log import PredictionLog
from feedback.store import Store
from serve.batching import Batcher
from serve.explaining import Explainer
from serve.key_watcher import KeyWatcher
from serve.predicting import Predictor
from serve.store_calls import StoreCalls
from serve.swap import ChampionWatcher, ModelSlot
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
    watcher: ChampionWatcher
    batcher: Batcher
    predictor: Predictor
    store: StoreCalls
    log: PredictionLog | None
    log_store: Store
    # None where requests take no key.
    key_watcher: KeyWatcher | None


def assemble(settings: Settings, metrics_dir: Path | None, replica_id: str) -> Parts:
    """Return the parts of one replica; the store may be down, the registry empty."""
    metrics = Metrics()
    registry = Registry(settings.home.registry)
    # Connections of its own: calls that hang on the routes' side must not keep predictions from being written.
    log_store = Store(settings.sqlalchemy_url)
    slot = ModelSlot()
    budget = BatchBudget(settings.batch_max_texts, settings.batch_max_tokens)
    batcher = Batcher(budget, settings.queue_max_texts, metrics)
    explainer = Explainer(batcher, max_texts=settings.explain_max_texts, evaluations=settings.explain_budget_texts)
    log = _prediction_log(settings, log_store, metrics) if settings.log_predictions else None

    def load(folder: Path) -> Classifier:
        return Classifier.load(folder, threads=settings.engine_threads, checked=True)

    return Parts(
        settings=settings,
        metrics=metrics,
        metrics_dir=metrics_dir,
        replica_id=replica_id,
        started_at=now(),
        registry=registry,
        slot=slot,
        watcher=ChampionWatcher(slot, registry, load, metrics, poll_s=settings.swap_poll_s),
        batcher=batcher,
        predictor=Predictor(slot, batcher, explainer, log, metrics),
        store=StoreCalls(Store(settings.sqlalchemy_url)),
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
        on_event=lambda outcome, rows: metrics.count("hone_log_rows_total", rows, outcome=outcome),
    )
