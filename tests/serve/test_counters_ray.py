"""Counters on a cluster of two nodes: what replicas counted is what clients sent, through all that can happen to replicas."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from core.registry import Registry
from core.settings import Settings
from tests.bundles import LABELS, register_ngram_bundle
from tests.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

_PATIENCE_S = 90.0
_CONFIG = Path(__file__).parents[2] / "deploy" / "prometheus" / "discovery.yml"


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start a Ray of this test's own with two nodes, join it, and end it by its handles."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    # Ray's sockets lie in this folder, and a socket's path may have 107 bytes at most.
    folder = tempfile.mkdtemp(prefix="hone-", dir="/tmp")
    # Two replicas fit on each.
    common: dict[str, Any] = {
        "num_cpus": 1,
        "object_store_memory": 100 * 1024**2,
        "temp_dir": folder,
        "include_dashboard": False,
    }
    common |= {"no_monitor": True, "include_log_monitor": False}
    nodes: list[Any] = []
    try:
        nodes.append(Node(head=True, shutdown_at_exit=False, spawn_reaper=True, ray_params=RayParams(**common)))
        address = nodes[0].gcs_address
        joined = RayParams(**common, gcs_address=address, redis_address=address, node_manager_port=0)
        nodes.append(Node(head=False, shutdown_at_exit=False, spawn_reaper=True, ray_params=joined))
        ray.init(address=address, log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        for node in reversed(nodes):
            node.kill_all_processes(check_alive=False, allow_graceful=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings of two replicas, one for each node, with two versions."""
    made = Settings.model_validate(
        {"HONE_HOME": tmp_path / "home", "port": free_port(), "replicas": 2, "replica_cpus": 0.5, "swap_poll_s": 0.1}
    )
    made.home.prepare()
    registry = Registry(made.home.registry)
    for seed in range(2):
        register_ngram_bundle(registry, seed=seed)
    registry.promote("v1", by="test", why="a fixture")
    return made


@dataclass(eq=False)
class Traffic:
    """Clients that ask until told to stop, and somebody who scrapes meanwhile."""

    http: httpx.Client
    url: str
    statuses: Counter[int] = field(default_factory=Counter)
    falls: list[str] = field(default_factory=list)
    scrapes: int = 0

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Have three clients ask, and the metrics be scraped, inside the block; all of them are done when it ends."""
        stop = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(stop,)) for _ in range(3)]
        threads.append(threading.Thread(target=self._scrape, args=(stop,)))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _ask(self, stop: threading.Event) -> None:
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as http:
            while not stop.is_set():
                self.statuses[http.post("/v1/predict", json={"texts": LABELS}).status_code] += 1

    def _scrape(self, stop: threading.Event) -> None:
        before: dict[str, float] = {}
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as http:
            while not stop.is_set():
                answer = http.get("/metrics")
                if answer.status_code != 200:
                    continue
                self.scrapes += 1
                now = dict(_samples(answer.text))
                self.falls += [name for name in before if now.get(name, 0.0) < before[name]]
                before = now

    def check(self, moment: str) -> None:
        """Check that counters hold what was sent, in the whole and by node, and that none ever fell."""
        assert set(self.statuses) == {200}, moment
        sent = float(self.statuses[200])
        whole = dict(_samples(self.http.get("/metrics").raise_for_status().text))
        targets = self.http.get("/v1/metrics/targets").raise_for_status().json()
        parts: Counter[str] = Counter()
        for group in targets:
            assert group["targets"] == [self.url.removeprefix("http://")]
            node = {"node": group["labels"]["__param_node"]}
            parts.update(dict(_samples(self.http.get("/metrics", params=node).raise_for_status().text)))
        for counted in (whole, parts):
            answered = [value for name, value in counted.items() if name.startswith("hone_requests_total{")]
            texts = [value for name, value in counted.items() if name.startswith("hone_predictions_total{")]
            assert (sum(answered), sum(texts)) == (sent, sent * len(LABELS)), moment
        assert self.falls == [], moment


def _samples(exposed: str) -> Iterator[tuple[str, float]]:
    """Yield what only ever grows: the counters of prediction requests and texts."""
    for line in exposed.splitlines():
        if re.match(r'hone_requests_total\{route="/v1/predict"|hone_predictions_total\{|hone_stage_seconds_count', line):
            name, _, value = line.rpartition(" ")
            yield name, float(value)


def _until(condition: str, holds: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        try:
            if holds():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError(condition)


def test_counters_are_what_clients_sent_through_all_that_happens_to_replicas(two_nodes: None, settings: Settings) -> None:
    from serve.service import start_service, stop_service

    def scale(replicas: int) -> None:
        start_service(settings.model_copy(update={"replicas": replicas}), metrics_dir=settings.home.metrics)

    scale(2)
    with httpx.Client(base_url=settings.url, trust_env=False, timeout=30) as http:

        def serving() -> list[str | None]:
            return [replica["model_version"] for replica in http.get("/v1/status").json()["replicas"]]

        _until("both replicas serve", lambda: serving() == ["v1", "v1"])
        traffic = Traffic(http, settings.url)
        with traffic.flowing():
            _until("requests are answered", lambda: traffic.statuses[200] > 20)
        traffic.check("two replicas")
        assert len(http.get("/v1/metrics/targets").json()) == 2, "each node has a replica"

        with traffic.flowing():
            http.post("/v1/models/v2/promote", json={"by": "test"}).raise_for_status()
            _until("both replicas have swapped", lambda: serving() == ["v2", "v2"])
        traffic.check("a swap")

        with traffic.flowing():
            scale(4)
            _until("four replicas serve", lambda: serving() == ["v2"] * 4)
        traffic.check("scaled up")

        _kill_one()
        _until("another takes its place", lambda: serving() == ["v2"] * 4 and http.get("/readyz").status_code == 200)
        with traffic.flowing():
            _until("requests are answered", lambda: traffic.scrapes > 20)
        traffic.check("one was killed")

        with traffic.flowing():
            scale(1)
            _until("one replica is left", lambda: serving() == ["v2"])
        traffic.check("scaled down")
        _check_prometheus(http, settings, traffic)
    stop_service(settings)


def _kill_one() -> None:
    """Kill one replica's process, and return when its counts can be somebody else's to tell."""
    import ray

    names = [actor for actor in ray.util.list_named_actors(all_namespaces=True) if "#Replica#" in str(actor["name"])]
    assert len(names) == 4
    chosen: Any = names[0]
    ray.kill(ray.get_actor(chosen["name"], namespace=chosen["namespace"]))


def _check_prometheus(http: httpx.Client, settings: Settings, traffic: Traffic) -> None:
    """Check that a real Prometheus that is told nothing but Hone's address sees both nodes and the true sum."""
    program = shutil.which("prometheus")
    if program is None:
        return
    folder = settings.home.root
    config = yaml.safe_load(_CONFIG.read_text())
    config["global"] = {"scrape_interval": "1s"}
    config["rule_files"] = []
    config["scrape_configs"][0]["http_sd_configs"] = [{"url": f"{settings.url}/v1/metrics/targets", "refresh_interval": "1s"}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    options = [
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/tsdb",
        f"--web.listen-address={address}",
    ]
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def value(expression: str) -> float:
        found = httpx.get(f"http://{address}/api/v1/query", params={"query": expression}, trust_env=False).json()
        return float(found["data"]["result"][0]["value"][1]) if found["data"]["result"] else -1.0

    try:
        _until("both nodes are scraped", lambda: value('sum(up{job="hone"})') == 2)
        counted = 'sum(hone_requests_total{route="/v1/predict"})'
        _until("the sum is what was sent", lambda: value(counted) == traffic.statuses[200])
    finally:
        process.terminate()
        process.wait(15)
