"""Every metric of Hone, in one catalogue: name, type, labels, buckets, meaning.

Units are base units. Labels take values from small fixed sets (versions, routes, states), never from a request.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

LATENCY_BUCKETS_S = (0.001, 0.002, 0.004, 0.006, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
LOAD_BUCKETS_S = (0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 15.0, 60.0)
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Family = TypeVar("Family", Counter, Gauge, Histogram)


@dataclass(frozen=True)
class Metric:
    """One entry of the catalogue."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    # How a gauge's values from several processes become one (prometheus_client's multiprocess modes).
    merge: Literal["livesum", "mostrecent", "livemax"] = "mostrecent"


CATALOGUE: tuple[Metric, ...] = (
    Metric("hone_requests_total", "counter", "Requests answered.", ("route", "status")),
    Metric("hone_request_seconds", "histogram", "Time from body read to answer.", ("route",), LATENCY_BUCKETS_S),
    Metric("hone_predictions_total", "counter", "Texts answered.", ("version", "source")),
    Metric("hone_truncated_total", "counter", "Texts of which a part was not read.", ("version",)),
    Metric("hone_abstained_total", "counter", "Texts whose best label was less probable than was asked for.", ("version",)),
    Metric("hone_prediction_seconds", "histogram", "Time a text took, queue included.", ("version",), LATENCY_BUCKETS_S),
    Metric("hone_queue_seconds", "histogram", "Time a text waited for the engine.", (), LATENCY_BUCKETS_S),
    Metric("hone_tokenize_seconds", "histogram", "Time the tokenizer took for what was new.", (), LATENCY_BUCKETS_S),
    Metric("hone_engine_seconds", "histogram", "Time the engine took for a batch.", (), LATENCY_BUCKETS_S),
    Metric("hone_batch_texts", "histogram", "Texts in a batch.", (), SIZE_BUCKETS),
    Metric("hone_tokens_total", "counter", "Tokens the engine read.", ("kind",)),
    Metric("hone_refused_total", "counter", "Requests refused, by error code.", ("code",)),
    Metric("hone_corrections_total", "counter", "Corrections and confirmations accepted.", ("kind",)),
    Metric("hone_labelled", "gauge", "Predictions people have labelled, by outcome.", ("version", "outcome")),
    Metric(
        "hone_live_accuracy_ratio", "gauge", "Right among labelled predictions; biased to what people look at.", ("version",)
    ),
    Metric("hone_champion_info", "gauge", "1 for the version that serves.", ("version",)),
    Metric("hone_replicas", "gauge", "Replicas by the state of their model.", ("state",)),
    Metric("hone_swaps_total", "counter", "Swaps of a replica to another version.", ("outcome",)),
    Metric(
        "hone_load_seconds",
        "histogram",
        "Time to load and verify a version.",
        (),
        LOAD_BUCKETS_S,
    ),
    Metric("hone_rollouts_total", "counter", "What became of versions in the replicas.", ("state",)),
    Metric("hone_version_failures_total", "counter", "Requests on which a version's engine failed.", ("version",)),
    Metric("hone_shadow_texts_total", "counter", "Texts that two versions were compared on.", ("outcome",)),
    Metric("hone_shadow_agreement_ratio", "gauge", "Share of compared texts with one label from both.", ("version",)),
    Metric("hone_probation_evidence_ratio", "gauge", "Evidence against the new version; 1 rolls it back.", ("check",)),
    Metric("hone_challenger_info", "gauge", "1 for the version that challenges.", ("version", "mode")),
    Metric(
        "hone_log_rows_total",
        "counter",
        "Predictions by what became of their record; `unsampled` ones were not to be kept.",
        ("outcome",),
    ),
    Metric("hone_store_up", "gauge", "1 while the feedback store answers."),
    Metric("hone_runs_total", "counter", "Runs that ended.", ("speed", "state")),
    Metric("hone_run_seconds", "histogram", "Duration of a run.", ("speed",), (1, 5, 15, 60, 300, 900, 3600, 14400)),
    Metric("hone_run_progress_ratio", "gauge", "Progress of the current run."),
    Metric("hone_gate_decisions_total", "counter", "Verdicts of the gate.", ("promote",)),
    Metric("hone_holdout_accuracy_ratio", "gauge", "Accuracy on the holdout, measured at export.", ("version",)),
)


class Metrics:
    """The catalogue as live objects.

    With ``PROMETHEUS_MULTIPROC_DIR`` set before the first import of prometheus_client, values live in files of that folder,
    and :func:`exposition` sums them over all processes, dead ones included.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.registry = registry
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        # Labels take few values, so these stay few.
        self._children: dict[Hashable, Counter | Gauge | Histogram] = {}
        for metric in CATALOGUE:
            if metric.kind == "counter":
                self._counters[metric.name] = Counter(metric.name, metric.meaning, metric.labels, registry=registry)
            elif metric.kind == "gauge":
                gauge = Gauge(metric.name, metric.meaning, metric.labels, registry=registry, multiprocess_mode=metric.merge)
                self._gauges[metric.name] = gauge
            else:
                buckets = metric.buckets
                histogram = Histogram(metric.name, metric.meaning, metric.labels, registry=registry, buckets=buckets)
                self._histograms[metric.name] = histogram

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._child(self._counters[name], labels).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._child(self._gauges[name], labels).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        self._child(self._histograms[name], labels).observe(value)

    def _child(self, family: Family, labels: dict[str, str]) -> Family:
        """Return what counts under ``labels``; the library's own way there takes longer than the counting itself."""
        if not labels:
            return family
        key = (family, *labels.items())
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = family.labels(**labels)
        return cast("Family", child)


def exposition(metrics: Metrics, folder: Path | None) -> bytes:
    """Return the Prometheus text format: of all processes that share ``folder``, or of this one when it is None."""
    if folder is None:
        return generate_latest(metrics.registry)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call] # the library leaves it untyped
    return generate_latest(registry)
