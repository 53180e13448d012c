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

from core.metric_catalogue import CATALOGUE, LABELS, Metric
from core.metrics import Metrics, exposition

_ROOT = Path(__file__).parents[2]
_BASE_UNITS = {"seconds", "bytes", "ratio", "info"}
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
    assert metric.meaning.endswith(".")
    assert metric.kind == "gauge" or metric.merge == "livemostrecent"
    # A base unit is part of the name; what else is counted is told beside it.
    assert metric.unit.isalpha()
    named = metric.name.removesuffix("_total").rpartition("_")[2]
    assert (named == metric.unit) if metric.unit in _BASE_UNITS else named not in _BASE_UNITS
    assert named not in ("ms", "milliseconds", "minutes", "percent", "kb", "mb")


@pytest.mark.parametrize("metric", CATALOGUE, ids=_NAMES)
def test_buckets_rise_and_belong_to_histograms(metric: Metric) -> None:
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


@pytest.mark.parametrize("metric", CATALOGUE, ids=_NAMES)
def test_labels_come_from_small_sets(metric: Metric) -> None:
    assert set(metric.labels) <= LABELS.keys()
    assert len(set(metric.labels)) == len(metric.labels) <= 3
    assert not metric.starts or len(metric.labels) == 1


def test_labels_are_explained_and_used_and_name_nothing_a_caller_sends() -> None:
    assert LABELS.keys() == {label for metric in CATALOGUE for label in metric.labels}
    assert all(label.meaning.endswith(".") and 1 < label.most <= 500 for label in LABELS.values())
    assert LABELS.keys().isdisjoint({"text", "prediction_id", "request_id", "annotator", "subject", "key", "path"})


def test_a_label_that_takes_more_values_than_it_may_is_counted_as_other() -> None:
    metrics, most = Metrics(), LABELS["code"].most
    for number in range(most + 50):
        metrics.count("hone_refused_total", code=f"code_{number}")
    found = {
        dict(labels)["code"]: value
        for (name, labels), value in _samples(exposition(metrics, None)).items()
        if name == "hone_refused_total"
    }
    assert len(found) == most + 1
    assert sum(found.values()) == most + 50
    assert found["other"] == sum(found.values()) - sum(value for code, value in found.items() if code.startswith("code_"))


def test_several_observations_of_one_value_count_as_often() -> None:
    metrics = Metrics()
    for seconds, times in ((0.002, 3), (0.003, 1), (99.0, 2), (0.5, 0)):
        metrics.observe_times("hone_prediction_seconds", seconds, times, version="v1", source="head")
    text, labels = exposition(metrics, None), {"version": "v1", "source": "head"}
    assert _value(text, "hone_prediction_seconds_count", **labels) == 6
    assert _value(text, "hone_prediction_seconds_sum", **labels) == pytest.approx(0.006 + 0.003 + 198)
    assert _value(text, "hone_prediction_seconds_bucket", le="0.002", **labels) == 3
    assert _value(text, "hone_prediction_seconds_bucket", le="0.004", **labels) == 4
    assert _value(text, "hone_prediction_seconds_bucket", le="10.0", **labels) == 4


def test_counters_of_which_rates_are_asked_start_at_zero() -> None:
    text = exposition(Metrics(), None)
    for metric in CATALOGUE:
        for value in metric.starts:
            assert _value(text, metric.name, **{metric.labels[0]: value}) == 0


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
    metrics.observe("hone_engine_seconds", 0.003)
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
    assert _value(text, "hone_engine_seconds_count") == 7
    assert _value(text, "hone_engine_seconds_sum") == pytest.approx(0.021)
    assert _value(text, "hone_engine_seconds_bucket", le="0.004") == 7
    assert _value(text, "hone_engine_seconds_bucket", le="0.002") == 0
    # What an ended process said of its state is no longer so, and no process's number is part of anything.
    assert b"\nhone_store_up " not in text
    assert b"hone_champion_info{" not in text
    assert b"pid=" not in text
