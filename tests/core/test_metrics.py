"""The catalogue of metrics, and their sum over processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from core.metrics import CATALOGUE, Metric, Metrics, exposition

_ROOT = Path(__file__).parents[2]
_UNITS = ("_total", "_seconds", "_ratio", "_info", "_bytes", "_texts")
# Gauges that count things of the name itself.
_COUNTS = {"hone_labelled", "hone_replicas", "hone_store_up"}
_NAMES = [metric.name for metric in CATALOGUE]


def _samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(text.decode())
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples}


def _value(text: bytes, name: str, **labels: str) -> float:
    return _samples(text)[name, frozenset(labels.items())]


def test_names_are_unique() -> None:
    assert len(set(_NAMES)) == len(_NAMES)


@pytest.mark.parametrize("metric", CATALOGUE, ids=_NAMES)
def test_a_metric_names_its_unit_and_its_meaning(metric: Metric) -> None:
    assert metric.name.startswith("hone_")
    assert metric.name.replace("_", "").isalnum()
    assert metric.name.islower()
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.endswith(_UNITS) != (metric.name in _COUNTS)
    assert metric.meaning.endswith(".")
    assert metric.kind == "gauge" or metric.merge == "mostrecent"


@pytest.mark.parametrize("metric", CATALOGUE, ids=_NAMES)
def test_buckets_rise_and_belong_to_histograms(metric: Metric) -> None:
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


@pytest.mark.parametrize("metric", CATALOGUE, ids=_NAMES)
def test_labels_come_from_small_sets(metric: Metric) -> None:
    allowed = {"route", "status", "version", "source", "kind", "code", "outcome", "state", "speed", "promote", "check", "mode"}
    assert set(metric.labels) <= allowed
    assert len(set(metric.labels)) == len(metric.labels) <= 2


@pytest.mark.parametrize("metric", CATALOGUE, ids=_NAMES)
def test_every_metric_can_be_written_and_is_exposed(metric: Metric) -> None:
    metrics = Metrics()
    labels = dict.fromkeys(metric.labels, "x")
    if metric.kind == "counter":
        metrics.count(metric.name, 1, **labels)
        metrics.count(metric.name, 2.5, **labels)
        assert _value(exposition(metrics, None), metric.name, **labels) == 3.5
    elif metric.kind == "gauge":
        metrics.set(metric.name, 4.0, **labels)
        metrics.set(metric.name, 0.5, **labels)
        assert _value(exposition(metrics, None), metric.name, **labels) == 0.5
    else:
        metrics.observe(metric.name, metric.buckets[1], **labels)
        metrics.observe(metric.name, metric.buckets[-1] + 1, **labels)
        text = exposition(metrics, None)
        assert _value(text, f"{metric.name}_count", **labels) == 2
        assert _value(text, f"{metric.name}_sum", **labels) == metric.buckets[1] + metric.buckets[-1] + 1
        assert _value(text, f"{metric.name}_bucket", le=str(float(metric.buckets[0])), **labels) == 0
        assert _value(text, f"{metric.name}_bucket", le=str(float(metric.buckets[1])), **labels) == 1
        assert _value(text, f"{metric.name}_bucket", le="+Inf", **labels) == 2


def test_counters_do_not_fall() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        Metrics().count("hone_requests_total", -1, route="/", status="200")


@pytest.mark.parametrize(
    ("method", "name", "labels"),
    [
        ("count", "hone_unknown_total", {}),
        ("count", "hone_replicas", {"state": "ready"}),
        ("set", "hone_requests_total", {"route": "/", "status": "200"}),
        ("observe", "hone_store_up", {}),
    ],
)
def test_what_is_not_in_the_catalogue_is_refused(method: str, name: str, labels: dict[str, str]) -> None:
    write: Any = getattr(Metrics(), method)
    with pytest.raises(KeyError):
        write(name, 1, **labels)


def test_wrong_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="label"):
        Metrics().count("hone_requests_total", route="/")
    with pytest.raises(ValueError, match="label"):
        Metrics().count("hone_requests_total", route="/", status="200", text="a user's text")


def test_two_objects_share_nothing_and_a_registry_takes_the_catalogue_once() -> None:
    one, other = Metrics(), Metrics()
    one.set("hone_store_up", 1)
    assert _value(exposition(one, None), "hone_store_up") == 1
    assert _value(exposition(other, None), "hone_store_up") == 0
    registry = CollectorRegistry()
    Metrics(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(registry)


_WORK = """
import sys
from core.metrics import Metrics
metrics = Metrics()
share = int(sys.argv[1])
for _ in range(share):
    metrics.count("hone_requests_total", route="/v1/predict", status="200")
    metrics.observe("hone_queue_seconds", 0.003)
metrics.set("hone_store_up", share % 2)
metrics.set("hone_champion_info", 1, version=f"v{share}")
"""
_READ = """
import sys
from pathlib import Path
from core.metrics import Metrics, exposition
metrics = Metrics()
metrics.count("hone_requests_total", 100, route="/v1/predict", status="200")
sys.stdout.buffer.write(exposition(metrics, Path(sys.argv[1])))
"""


@pytest.mark.integration
def test_counters_and_histograms_are_summed_over_all_processes_dead_ones_included(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def run(code: str, argument: str) -> bytes:
        command = [sys.executable, "-W", "error", "-c", code, argument]
        return subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, check=True).stdout

    run(_WORK, "3")
    run(_WORK, "4")
    text = run(_READ, str(tmp_path))
    assert _value(text, "hone_requests_total", route="/v1/predict", status="200") == 107
    assert _value(text, "hone_queue_seconds_count") == 7
    assert _value(text, "hone_queue_seconds_sum") == pytest.approx(0.021)
    assert _value(text, "hone_queue_seconds_bucket", le="0.004") == 7
    assert _value(text, "hone_queue_seconds_bucket", le="0.002") == 0
    # Of a gauge the last word counts, and no process's number is part of it.
    assert _value(text, "hone_store_up") == 0
    assert _value(text, "hone_champion_info", version="v3") == 1
    assert b"pid=" not in text
