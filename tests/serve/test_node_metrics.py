"""Metrics of several nodes: each has a folder of its own, and whichever replica is asked answers for one or for all."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import InvalidHeader, NotFound, Unavailable
from core.metric_copies import Copied, copy_files
from core.metrics import Metrics
from serve.node_metrics import NodeMetrics
from tests.serve.conftest import Service

_ROOT = Path(__file__).parents[2]
# One process of a node: counts, sets, says so, and lives until its input ends.
_CHILD = """
import sys
from core.metrics import Metrics
metrics = Metrics()
metrics.count("hone_requests_total", float(sys.argv[1]), route="/v1/predict", status="200")
metrics.observe("hone_engine_seconds", 0.003)
metrics.set("hone_process_threads", float(sys.argv[1]), process="replica")
metrics.set("hone_store_up", 1.0)
print("done", flush=True)
sys.stdin.read()
"""


class FakeNodes:
    """Nodes whose folders this machine can read after all."""

    own = "a"

    def __init__(self, up: set[str]) -> None:
        self.up = up
        self.asked: list[str] = []
        self.silent = False

    def alive(self) -> set[str]:
        return self.up

    async def copy(self, node: str, folder: Path) -> Copied:
        self.asked.append(node)
        if self.silent:
            raise LookupError(node)
        return await asyncio.to_thread(copy_files, folder)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in which a process each of the nodes ``a`` and ``b`` has counted 3 and 4."""
    children = []
    for name, amount in (("a", "3"), ("b", "4")):
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / name)}
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, amount],
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "done\n"
    yield tmp_path
    for child in children:
        child.communicate()


def _counted(exposed: bytes, name: str) -> list[float]:
    lines = exposed.decode().splitlines()
    return [float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))]


async def test_each_node_is_a_target_and_answers_for_itself_whoever_is_asked(folder: Path) -> None:
    nodes = FakeNodes({"a", "b", "without-hone"})
    metrics = NodeMetrics(Metrics(), folder, nodes)
    found = await metrics.targets("hone.example:8321")
    assert [(group.targets, group.labels) for group in found] == [
        (["hone.example:8321"], {"node": name, "__param_node": name}) for name in ("a", "b")
    ]
    assert _counted(await metrics.exposition("a"), "hone_requests_total") == [3]
    assert nodes.asked == []
    assert _counted(await metrics.exposition("b"), "hone_requests_total") == [4]
    assert nodes.asked == ["b"]


async def test_without_a_node_the_whole_cluster_is_one(folder: Path) -> None:
    exposed = await NodeMetrics(Metrics(), folder, FakeNodes({"a", "b"})).exposition()
    assert _counted(exposed, "hone_requests_total") == [7]
    assert _counted(exposed, "hone_engine_seconds_count") == [2]
    assert _counted(exposed, "hone_process_threads") == [7]
    assert _counted(exposed, "hone_store_up") == [1]


async def test_a_node_that_is_down_is_no_target_and_its_counts_stay_in_the_sum(folder: Path) -> None:
    nodes = FakeNodes({"a"})
    metrics = NodeMetrics(Metrics(), folder, nodes)
    assert [group.labels["node"] for group in await metrics.targets("h")] == ["a"]
    assert _counted(await metrics.exposition(), "hone_requests_total") == [7]
    assert nodes.asked == []


async def test_a_node_that_does_not_answer_is_not_left_out_of_the_sum(folder: Path) -> None:
    nodes = FakeNodes({"a", "b"})
    nodes.silent = True
    metrics = NodeMetrics(Metrics(), folder, nodes)
    for node in (None, "b"):
        with pytest.raises(Unavailable, match="node b"):
            await metrics.exposition(node)
    assert _counted(await metrics.exposition("a"), "hone_requests_total") == [3]


@pytest.mark.parametrize("name", ["c", "..", "a/../b", ""])
async def test_a_node_nobody_knows_is_not_found(folder: Path, name: str) -> None:
    with pytest.raises(NotFound):
        await NodeMetrics(Metrics(), folder, FakeNodes({"a", "b"})).exposition(name)


async def test_the_route_tells_the_address_by_which_it_was_asked(service: Service) -> None:
    answer = await service.http.get("/v1/metrics/targets")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == [{"targets": ["hone"], "labels": {}}]
    assert (await service.http.get("/metrics", params={"node": "x"})).status_code == 404


@pytest.mark.parametrize("host", ["a b", "user@host", "x" * 300, "", "h:123456"])
async def test_a_host_that_is_no_address_is_refused(service: Service, host: str) -> None:
    answer = await service.http.get("/v1/metrics/targets", headers={"host": host})
    assert answer.status_code in (400, 421)
    if host:
        assert host not in answer.text
    with pytest.raises(InvalidHeader):
        await NodeMetrics(Metrics(), None).targets(host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8321", "[::1]:8321", "hone.prod.svc:80", "a_b"])
async def test_names_and_addresses_are_targets(host: str) -> None:
    assert [group.targets for group in await NodeMetrics(Metrics(), None).targets(host)] == [[host]]
