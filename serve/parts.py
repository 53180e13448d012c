"""What one replica is made of, put together from settings; nothing here starts before :func:`serve.lifecycle.running`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.discretion import Discretion
from core.encoder import thread_count
from core.metrics import Metrics
from core.registries import registry_of
from core.registry import Registry
from core.rollouts import Rollouts
from core.schemas import now
from core.settings import Settings
from core.tracing import Tracing
from feedback.log_policy import LogPolicy
from feedback.prediction_log import PredictionLog
from feedback.store import Store
from serve.access_log import AccessLog
from serve.admission import Admission, QueueLimits
from serve.batching import Batcher
from serve.challenge_watch import ChallengeWatch
from serve.explaining import Explainer
from serve.key_watcher import KeyWatcher
from serve.label_door import LabelDoor
from serve.loading import TURN_S, BundleLoader
from serve.memory_watcher import MemoryWatcher
from serve.node_metrics import NodeMetrics, Nodes
from serve.predicting import Predictor
from serve.probation_watch import ProbationWatch
from serve.ranking import NewIds
from serve.ranking import new_ids as random_ids
from serve.request_traces import RequestTraces
from serve.rollout_book import RolloutBook
from serve.slot import ModelSlot
from serve.store_calls import StoreCalls
from serve.swap import ChampionWatcher, Pace
from serve.telling import RequestTeller
from serve.traffic import Traffic
from serve.waiting import BatchBudget

_FOLLOW_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Parts:
    """One replica."""

    settings: Settings
    metrics: Metrics
    node_metrics: NodeMetrics
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
    memory: MemoryWatcher
    log: PredictionLog | None
    log_store: Store
    # None where requests take no key.
    key_watcher: KeyWatcher | None
    # None where there are neither an access log nor traces.
    teller: RequestTeller | None


def assemble(
    settings: Settings,
    metrics_dir: Path | None,
    replica_id: str,
    *,
    nodes: Nodes | None = None,
    new_ids: NewIds = random_ids,
) -> Parts:
    """Return the parts of one replica; the store may be down, the registry empty.

    ``metrics_dir`` is where the stack's processes share their counters, those of each of ``nodes`` in a folder of its own;
    None keeps them in this process. ``new_ids`` names predictions.
    """
    metrics = Metrics()
    registry = registry_of(settings, watched=True)
    # Connections of its own: calls that hang on the routes' side must not keep predictions from being written.
    log_store = Store.of(settings)
    slot = ModelSlot()
    store = StoreCalls(Store.of(settings), metrics)
    budget = BatchBudget(settings.batch_max_texts, settings.batch_max_tokens)
    # Texts of like length go together, so of those that wait in an overload a batch takes a few only, however many they are: a
    # quarter of a batch, instead of a whole one, costs a tenth of the answers and spares a third of the wait (docs/serving.md).
    always = -(-settings.batch_max_texts // 4)
    limits = QueueLimits(settings.queue_max_texts, settings.queue_max_wait_s, settings.overload_wait_s, always)
    lanes = thread_count(settings.engine_threads)
    batcher = Batcher(budget, Admission(limits), metrics, lanes=lanes, max_request_tokens=settings.max_request_tokens)
    explainer = Explainer(batcher, max_texts=settings.explain_max_texts, evaluations=settings.explain_budget_texts)
    log = _prediction_log(settings, log_store, metrics) if settings.log_predictions else None
    traffic, discretion = Traffic(slot, metrics, settings), Discretion.of(settings)

    cache, threads = settings.home.cache, settings.engine_threads
    load = BundleLoader(cache, threads, settings.load_timeout_s, settings.memory_reserve_bytes)
    rollouts = Rollouts(settings.home.registry)
    book = RolloutBook(rollouts, replica_id, metrics)
    # A new encoder waits for its turn, is tried in a process of its own and then loaded here, and each may take its time.
    pace = Pace(settings.swap_poll_s, TURN_S + 2 * settings.load_timeout_s)
    watcher = ChampionWatcher(slot, registry, load, book, pace)

    # Calls of its own as well: the memory is followed all the time.
    memory = MemoryWatcher(
        slot, StoreCalls(Store.of(settings), metrics, timeout_s=_FOLLOW_TIMEOUT_S), batcher, metrics, settings
    )
    challenged = settings.canary_ratio > 0 or settings.shadow_ratio > 0
    return Parts(
        settings=settings,
        metrics=metrics,
        node_metrics=NodeMetrics(metrics, metrics_dir, nodes),
        replica_id=replica_id,
        started_at=now(),
        registry=registry,
        slot=slot,
        rollouts=rollouts,
        watcher=watcher,
        probation_watch=ProbationWatch(slot, registry, watcher, book, settings),
        challenge_watch=ChallengeWatch(slot, registry, watcher, book, settings) if challenged else None,
        batcher=batcher,
        predictor=Predictor(traffic, batcher, explainer, log, metrics, discretion, new_ids, memory),
        store=store,
        labels=LabelDoor(slot, store),
        memory=memory,
        log=log,
        log_store=log_store,
        key_watcher=KeyWatcher(settings.home.keys) if settings.authenticated else None,
        teller=_teller(settings, replica_id),
    )


def _teller(settings: Settings, replica_id: str) -> RequestTeller | None:
    ratio, path = settings.access_log_ratio, settings.home.logs / "access.jsonl"
    log = AccessLog(path, ratio=ratio, max_bytes=settings.log_max_bytes, replica_id=replica_id) if ratio else None
    tracing = Tracing.of(settings, "hone", replica_id)
    traces = RequestTraces(tracing) if tracing is not None else None
    return RequestTeller(log, traces) if log is not None or traces is not None else None


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
