"""The service as Ray runs it: two replicas, a swap under load, an orderly end."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from core.registry import Registry
from core.schemas import ErrorAnswer
from core.settings import Settings
from feedback.store import Store
from tests.bundles import LABELS, register_ngram_bundle
from tests.ports import free_port

pytestmark = pytest.mark.integration

_PATIENCE_S = 60.0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start a Ray of this test's own, and end it by its handle."""
    # Otherwise a local start turns token authentication on and writes a token into the home folder.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    # Ray's sockets lie in this folder, and a socket's path may have 107 bytes at most.
    folder = tempfile.mkdtemp(prefix="hone-", dir="/tmp")
    ray.init(address="local", include_dashboard=False, num_cpus=2, _temp_dir=folder, log_to_driver=False)
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings.model_validate({"HONE_HOME": tmp_path / "home", "port": free_port(), "replicas": 2, "swap_poll_s": 0.1})
    made.home.prepare()
    registry = Registry(made.home.registry)
    for seed in range(2):
        register_ngram_bundle(registry, seed=seed)
    registry.promote("v1", by="test", why="a fixture")
    return made


@dataclass(eq=False)
class Client(threading.Thread):
    """Asks until told to stop; keeps what came back."""

    url: str
    stop: threading.Event
    answers: list[dict[str, object]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(name="client")

    def run(self) -> None:
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as http:
            while not self.stop.is_set():
                response = http.post("/v1/predict", json={"texts": LABELS})
                if response.status_code == 200:
                    self.answers.append(response.json())
                else:
                    self.failures.append(response.text)


def _wait(condition: str, check: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not check():
        assert time.monotonic() < end, condition
        time.sleep(0.05)


def test_two_replicas_answer_swap_and_end_in_order(cluster: None, settings: Settings) -> None:
    from serve.service import start_service, stop_service

    start_service(settings, metrics_dir=settings.home.metrics)
    with httpx.Client(base_url=settings.url, trust_env=False, timeout=30) as http:
        _wait("a model is loaded", lambda: http.get("/readyz").status_code == 200)
        _wait("both replicas serve", lambda: _versions(http) == ["v1", "v1"])
        _check_answers(http)
        stop = threading.Event()
        clients = [Client(settings.url, stop) for _ in range(4)]
        for client in clients:
            client.start()
        _wait("every client was answered by v1", lambda: all(client.answers for client in clients))
        moved = http.post("/v1/models/v2/promote", json={"by": "test"})
        assert moved.json()["champion"] == "v2"
        _wait("both replicas have swapped", lambda: _versions(http) == ["v2", "v2"])
        _wait("every client was answered by v2", lambda: all(client.answers[-1]["model_version"] == "v2" for client in clients))
        stop.set()
        for client in clients:
            client.join()
        answered = _check_load(settings, clients)
        exposed = http.get("/metrics").text
    stop_service(settings)
    assert 'hone_swaps_total{outcome="swapped"} 2.0' in exposed, "the counters of both replicas are summed"
    _check_end(settings, answered)


def _versions(http: httpx.Client) -> list[str | None]:
    return [replica["model_version"] for replica in http.get("/v1/status").json()["replicas"]]


def _check_answers(http: httpx.Client) -> None:
    answer = http.post("/v1/predict", json={"text": "so positive"}, headers={"x-request-id": "trace-1"})
    assert answer.json()["label"] == "positive"
    assert answer.headers.get_list("x-request-id") == ["trace-1"]
    refused = http.post("/v1/predict", json={"text": ""})
    error = ErrorAnswer.model_validate_json(refused.content)
    assert (refused.status_code, refused.headers.get_list("x-request-id")) == (422, [error.request_id])
    body = {"prediction_id": answer.json()["prediction_id"], "label": "neutral"}
    # Whichever replica is asked, it finds the prediction.
    assert {http.post("/v1/corrections", json=body).status_code for _ in range(4)} == {201}


def _check_load(settings: Settings, clients: list[Client]) -> int:
    """Return how many texts were answered, none of them torn or refused."""
    registry = Registry(settings.home.registry)
    scores = {name: [round(probe.score, 6) for probe in registry.manifest(name).probes] for name in ("v1", "v2")}
    assert [failure for client in clients for failure in client.failures] == []
    for client in clients:
        for answer in client.answers:
            predictions = answer["predictions"]
            assert isinstance(predictions, list)
            assert [item["score"] for item in predictions] == scores[str(answer["model_version"])]
        assert {answer["model_version"] for answer in client.answers} == {"v1", "v2"}
    return sum(len(client.answers) for client in clients) * len(LABELS)


def _check_end(settings: Settings, answered: int) -> None:
    """Check that nothing of what was answered is lost and nobody claims to serve any more."""
    store = Store(settings.sqlalchemy_url)
    outcomes = store.label_outcomes()
    assert (outcomes["v1"].right, outcomes["v1"].wrong) == (0, 1)
    assert store.replicas() == []
    with store._reading() as connection:
        (kept,) = connection.exec_driver_sql("SELECT count(*) FROM predictions").one()
    assert kept == answered + 1
    store.close()
    with socket.socket() as probe:
        assert probe.connect_ex((settings.host, settings.port)) != 0
