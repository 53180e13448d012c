"""An upgrade of a cluster under load, and the way back: replacements come first, no request fails, no correction is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from core.release import release
from core.settings import Settings
from deploy.stack.learner import settings_environment
from feedback.store import Store
from load_tests.cluster_callers import Callers, Kept
from tests.deploy.test_clusters_ray import _answers, _until, dashboard, deploy

__all__ = ["dashboard"]

pytestmark = pytest.mark.integration

_ROOT = Path(__file__).parents[2]
_ROOMS = ("core", "feedback", "serve", "train", "deploy")
_NEXT = "1000.0"
# A quarter of it, rounded up, comes first.
_REPLICAS = 1


class Installed:
    """Releases side by side, one of which is where the nodes' Python looks first, as if pip had put it there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.place = folder / "current"
        for name in (release(), _NEXT):
            made = folder / name
            for room in _ROOMS:
                shutil.copytree(_ROOT / room, made / room, ignore=shutil.ignore_patterns("__pycache__"))
            about = made / f"hone-{name}.dist-info"
            about.mkdir()
            (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hone\nVersion: {name}\n")

    def install(self, name: str) -> None:
        """Replace what is installed, below whatever runs."""
        beside = self._folder / "beside"
        beside.symlink_to(self._folder / name)
        beside.replace(self.place)

    def serve_config(self, settings: Settings) -> dict[str, Any]:
        """Return what ``hone cluster ray`` of the installed release prints."""
        command = [sys.executable, "-c", "from deploy.cli import main; main()", "cluster", "ray"]
        environment = {**os.environ, **settings_environment(settings), "PYTHONPATH": str(self.place)}
        done = subprocess.run(command, env=environment, cwd=self.place, capture_output=True, text=True, check=True)
        made: dict[str, Any] = yaml.safe_load(done.stdout)
        return made


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Give two releases, of which this one is installed for every process of the cluster."""
    made = Installed(tmp_path)
    made.install(release())
    monkeypatch.setenv("PYTHONPATH", str(made.place))
    # Ray puts the folder it is started in before all that; a checkout there would be the release, whatever is installed.
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def nodes(installed: Installed, request: pytest.FixtureRequest) -> str:
    """Give the dashboard of a cluster on which this release is installed."""
    made: str = request.getfixturevalue("dashboard")
    return made


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"replicas": _REPLICAS})


def _running(nodes: str) -> set[str] | None:
    """Return the replicas that run; None while Ray builds an application and tells nothing of it."""
    applications = httpx.get(f"{nodes}/api/serve/applications/", trust_env=False, timeout=30).json()["applications"]
    told = applications["hone"]["deployments"].get("Replica")
    return told and {replica["replica_id"] for replica in told["replicas"] if replica["state"] == "RUNNING"}


def _releases(settings: Settings) -> set[str]:
    with httpx.Client(base_url=settings.url, trust_env=False, timeout=30) as http:
        return {http.get("/v2").json()["version"] for _ in range(12)}


def _replace(nodes: str, settings: Settings, installed: Installed, name: str) -> None:
    """Have the cluster serve the release ``name``, with as many replicas at each moment as there are to be."""
    before, seen = _running(nodes), []
    assert before is not None
    installed.install(name)
    deploy(nodes, installed.serve_config(settings))

    def replaced() -> bool:
        now = _running(nodes)
        if now is None:
            return False
        seen.append(len(now))
        return len(now) == _REPLICAS and not now & before

    _until(replaced)
    assert min(seen) >= _REPLICAS
    _until(lambda: _releases(settings) == {name})


@pytest.mark.usefixtures("registry")
def test_a_release_takes_over_under_load_and_gives_back(nodes: str, settings: Settings, installed: Installed) -> None:
    deploy(nodes, installed.serve_config(settings))
    _until(lambda: _answers(settings.url) and len(_running(nodes) or ()) == _REPLICAS)
    assert _releases(settings) == {release()}
    callers = Callers(settings.url, predicting=3, correcting=2)
    callers.start()
    try:
        _replace(nodes, settings, installed, _NEXT)
        _replace(nodes, settings, installed, release())
    finally:
        kept = callers.stop()
    _check(kept, settings)


def _check(kept: Kept, settings: Settings) -> None:
    assert [one for one in kept.asked if not 200 <= one.status < 300] == []
    assert {one.kind for one in kept.asked} == {"predict", "correct"}
    store = Store.of(settings)
    try:
        stored, page = [], store.corrections(1_000)
        while True:
            stored += [answer.correction_id for answer in page.corrections]
            if page.next_before is None:
                break
            page = store.corrections(1_000, page.next_before)
    finally:
        store.close()
    assert len(set(stored)) == len(stored)
    assert set(kept.acknowledged.values()) <= set(stored)
