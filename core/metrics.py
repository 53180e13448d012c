"""The catalogue of metrics as live objects, in one process or summed over many, and the text that Prometheus reads."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric as Family

from core.metric_catalogue import CATALOGUE, LABELS, OTHER, Metric
from core.metric_copies import Copied, merge_copies
from core.metric_files import join_shared_folder, read_families
from core.metric_meter import Counted, Meter


class _Counter(Counter):
    def add(self, amount: float, times: int) -> None:
        if amount < 0:
            raise ValueError("counters take non-negative amounts only")
        self._value.inc(amount * times)


class _Histogram(Histogram):
    def add(self, amount: float, times: int) -> None:
        self._sum.inc(amount * times)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(times)

    def observe_times(self, value: float, times: int) -> None:
        if times:
            self._raise_if_not_observable()  # type: ignore[no-untyped-call] # the library leaves it untyped
            self.add(value, times)


Live = TypeVar("Live", _Counter, Gauge, _Histogram)


class Metrics:
    """The catalogue as live objects.

    With ``PROMETHEUS_MULTIPROC_DIR`` set, values live in files of that folder, and :func:`exposition` sums them over all
    processes: counters and histograms of dead ones included, gauges of living ones only.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        join_shared_folder()
        registry = registry or CollectorRegistry()
        self.registry = registry
        self._counters: dict[str, _Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, _Histogram] = {}
        # Labels take few values, so these stay few.
        self._children: dict[Hashable, _Counter | Gauge | _Histogram] = {}
        self._seen: dict[str, set[str]] = defaultdict(set)
        for metric in CATALOGUE:
            self._add(metric)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._child(self._counters[name], labels).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._child(self._gauges[name], labels).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        self._child(self._histograms[name], labels).observe(value)

    def observe_times(self, name: str, value: float, times: int, **labels: str) -> None:
        """Add ``times`` observations of one value to a histogram, for the price of one."""
        self._child(self._histograms[name], labels).observe_times(value, times)

    def meter(self, counted: Sequence[tuple[str, Mapping[str, str]]], labels: tuple[str, ...] = ()) -> Meter:
        """Return what counts several counters and histograms at once, each named with the labels that are always the same.

        ``labels`` names those whose values are given at each counting; a metric gets the ones that it has.
        """
        own = {metric.name: metric.labels for metric in CATALOGUE}

        def find(values: tuple[str, ...]) -> tuple[list[Counted], bool]:
            given = dict(zip(labels, values, strict=True))
            found: list[Counted] = []
            for name, fixed in counted:
                chosen = {**fixed, **{label: value for label, value in given.items() if label in own[name]}}
                if name in self._counters:
                    found.append(self._child(self._counters[name], chosen))
                else:
                    found.append(self._child(self._histograms[name], chosen))
            return found, all(self._bounded(label, value) == value for label, value in given.items())

        return Meter(find)

    def _add(self, metric: Metric) -> None:
        name, registry = metric.name, self.registry
        match metric.kind:
            case "counter":
                self._counters[name] = _Counter(name, metric.meaning, metric.labels, registry=registry)
            case "gauge":
                self._gauges[name] = Gauge(
                    name, metric.meaning, metric.labels, registry=registry, multiprocess_mode=metric.merge
                )
            case "histogram":
                self._histograms[name] = _Histogram(
                    name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets
                )
        for value in metric.starts:
            self._child(self._counters[name], {metric.labels[0]: value})

    def _child(self, family: Live, labels: dict[str, str]) -> Live:
        """Return what counts under ``labels``; the library's own way there takes longer than the counting itself."""
        if not labels:
            return family
        key = (family, *labels.items())
        child = self._children.get(key)
        if child is not None:
            return cast("Live", child)
        bounded = {name: self._bounded(name, value) for name, value in labels.items()}
        made = family.labels(**bounded)
        if bounded == labels:
            self._children[key] = made
        return made

    def _bounded(self, label: str, value: str) -> str:
        seen = self._seen[label]
        if value not in seen:
            if label in LABELS and len(seen) >= LABELS[label].most:
                return OTHER
            seen.add(value)
        return value


class _Read:
    """What was read, as the library's writer wants it."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> list[Family]:
        return self._families


def exposition(metrics: Metrics, folder: Path | None) -> bytes:
    """Return the Prometheus text format: of all processes that share ``folder``, or of this one when it is None.

    Raises:
        Unavailable: another process keeps the folder locked.
    """
    return generate_latest(metrics.registry) if folder is None else _written(read_families(folder))


def exposition_of(copies: Iterable[Copied]) -> bytes:
    """Return the Prometheus text format of what was copied from the folders of several nodes."""
    return _written(merge_copies(copies))


def _written(families: list[Family]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Read(families))
    return generate_latest(registry)
