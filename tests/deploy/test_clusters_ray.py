"""On a Ray cluster of somebody else's the service is deployed by its configuration, and the learner is a job of the cluster."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.registry import Registry
from core.settings import Settings
from deploy.clusters.learner_job import ensure_learner
from deploy.clusters.serve_config import serve_config
from feedback.leases import LEARNER
from feedback.store import Store
from tests.ports import free_port

pytestmark = pytest.mark.integration

_LOOKS, _LOOK_EVERY_S = 600, 0.2


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a Ray of this test's own with a dashboard, give its address, and end it by its handle."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    # As in an image, `python` is the one that has Hone.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's own 15 has its workers give way to all else.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    # A busy machine starts slowly; Ray would give up after 30 and 15 s.
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")
    monkeypatch.setenv("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
    import ray

    folder = tempfile.mkdtemp(prefix="hone-", dir="/tmp")
    port = free_port()
    ray.init(
        address="local",
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=port,
        num_cpus=4,
        _temp_dir=folder,
        log_to_driver=False,
    )
    yield f"http://127.0.0.1:{port}"
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def _until(true: Callable[[], bool]) -> None:
    for _ in range(_LOOKS):
        if true():
            return
        time.sleep(_LOOK_EVERY_S)
    raise AssertionError("it did not happen")


def deploy(dashboard: str, config: dict[str, Any]) -> None:
    """Have the cluster do what ``config`` says, asked again where its proxies took longer to start than Ray waits."""
    from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

    client = ServeSubmissionClient(dashboard)
    for _ in range(4):
        try:
            client.deploy_applications(config)
        except RuntimeError:
            continue
        return
    client.deploy_applications(config)


def _answers(url: str) -> bool:
    try:
        return httpx.post(f"{url}/v1/predict", json={"text": "so positive"}).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.usefixtures("registry")
def test_the_configuration_deploys_the_service_and_the_learner_is_one_job(dashboard: str, settings: Settings) -> None:
    from ray.job_submission import JobSubmissionClient

    deploy(dashboard, serve_config(settings))
    _until(lambda: _answers(settings.url))
    answer = httpx.post(f"{settings.url}/v1/predict", json={"text": "so positive"}).json()
    assert (answer["label"], answer["model_version"]) == ("positive", Registry(settings.home.registry).aliases().champion)
    jobs = JobSubmissionClient(dashboard)
    job, new = ensure_learner(jobs, settings)
    assert new
    store = Store.of(settings)
    try:
        _until(lambda: store.lease_is_held(LEARNER) or jobs.get_job_status(job).is_terminal())
        assert store.lease_is_held(LEARNER), jobs.get_job_logs(job)
        assert ensure_learner(jobs, settings) == (job, False)
    finally:
        store.close()
        jobs.stop_job(job)
        _until(lambda: jobs.get_job_status(job).is_terminal())
