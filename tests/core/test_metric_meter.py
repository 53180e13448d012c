"""Metrics that are counted together: the same sums as one by one, whoever counts at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest

from core.metric_catalogue import LABELS
from core.metric_cells import CellFile, CellFolder
from core.metric_files import read_families
from core.metrics import Metrics

_ROOT = Path(__file__).parents[2]
_PREDICTED: list[tuple[str, dict[str, str]]] = [("hone_predictions_total", {}), ("hone_prediction_seconds", {})]
_BY = ("version", "source")


def _told(metrics: Metrics) -> list[bytes]:
    """Return all samples, without when each came into being."""
    return [line for line in generate_latest(metrics.registry).splitlines() if b"_created" not in line]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["v1", "v2"]), st.sampled_from(["head", "full"]), st.floats(0.0, 20.0), st.integers(1, 5)),
        max_size=20,
    )
)
def test_together_comes_to_the_same_as_one_by_one(answers: list[tuple[str, str, float, int]]) -> None:
    together, apart = Metrics(), Metrics()
    meter = together.meter(_PREDICTED, _BY)
    for version, source, seconds, times in answers:
        meter.add((version, source), (1, seconds), times)
        apart.count("hone_predictions_total", times, version=version, source=source)
        apart.observe_times("hone_prediction_seconds", seconds, times, version=version, source=source)
    assert _told(together) == _told(apart)


def test_a_metric_gets_the_labels_it_has_and_those_that_are_always_the_same() -> None:
    metrics = Metrics()
    counted: list[tuple[str, dict[str, str]]] = [
        ("hone_requests_total", {}),
        ("hone_request_seconds", {}),
        ("hone_tokens_total", {"kind": "text"}),
    ]
    meter = metrics.meter(counted, ("route", "status"))
    for status in ("200", "429", "200"):
        meter.add(("/v1/predict", status), (1, 0.01, 7))
    value = metrics.registry.get_sample_value
    assert value("hone_requests_total", {"route": "/v1/predict", "status": "200"}) == 2
    assert value("hone_request_seconds_count", {"route": "/v1/predict"}) == 3
    assert value("hone_tokens_total", {"kind": "text"}) == 21


def test_label_values_beyond_the_most_are_other_here_too() -> None:
    metrics, most = Metrics(), LABELS["status"].most
    meter = metrics.meter([("hone_requests_total", {})], ("route", "status"))
    for status in range(most + 5):
        for _ in range(2):
            meter.add(("/v1/predict", str(status)), (1,))
    assert metrics.registry.get_sample_value("hone_requests_total", {"route": "/v1/predict", "status": "other"}) == 10


def test_what_counts_up_is_refused_to_go_down_and_what_is_missing_is_told() -> None:
    metrics = Metrics()
    meter = metrics.meter(_PREDICTED, _BY)
    with pytest.raises(ValueError, match="non-negative"):
        meter.add(("v1", "head"), (-1, 0.1))
    with pytest.raises(ValueError, match="shorter"):
        meter.add(("v1", "head"), (1,))
    with pytest.raises(KeyError):
        metrics.meter([("hone_store_up", {})]).add((), (1,))


def test_a_file_of_cells_grows_and_is_one_that_prometheus_reads(tmp_path: Path) -> None:
    folder = CellFolder(lambda: tmp_path, lambda: "one")
    names = [f"name {number} " + "x" * number for number in range(700)]
    cells = [folder.make("counter", "hone_n", "hone_n_total", (["name"], [name]), "A meaning.") for name in names]
    assert (tmp_path / "counter_one.db").stat().st_size > 1 << 16
    for number, cell in enumerate(cells):
        cell.inc(number)
        cell.inc(0.5)
    (tmp_path / "one.alive").touch()
    # Nobody holds the lock of this process, so it counts as ended; its sums stay.
    (family,) = read_families(tmp_path)
    assert {sample.labels["name"]: sample.value for sample in family.samples} == {
        name: number + 0.5 for number, name in enumerate(names)
    }


def test_two_names_never_share_a_file(tmp_path: Path) -> None:
    CellFile(tmp_path / "counter_one.db")
    with pytest.raises(FileExistsError):
        CellFile(tmp_path / "counter_one.db")


def test_no_addition_is_lost_between_threads(tmp_path: Path) -> None:
    cell = CellFolder(lambda: tmp_path, lambda: "one").make("counter", "n", "n_total", ([], []), "A meaning.")

    def add() -> None:
        for _ in range(5_000):
            cell.inc(1)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert cell.get() == 20_000
    cell.set(3.0)
    assert cell.get() == 3.0


_TWO = """
import os, sys
from core.metrics import Metrics
one, other = Metrics(), Metrics()
for metrics in (one, other):
    metrics.meter([("hone_engine_seconds", {})]).add((), (0.003,))
assert one.registry.get_sample_value("hone_engine_seconds_count") == 2
child = os.fork()
one.count("hone_memory_evicted_total", 5)
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.integration
def test_objects_of_one_process_add_to_one_file_and_a_fork_to_its_own(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "error", "-c", _TWO], cwd=_ROOT, env=environment, check=True)
    values = {sample.name: sample.value for family in read_families(tmp_path) for sample in family.samples}
    assert values["hone_engine_seconds_count"] == 2
    assert values["hone_engine_seconds_sum"] == pytest.approx(0.006)
    assert values["hone_memory_evicted_total"] == 10
