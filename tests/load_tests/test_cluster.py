"""The cluster under load: a short version of it, and that its judgement can fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from load_tests import cluster
from load_tests.cluster import Phase, Scene, judged
from load_tests.cluster_callers import Asked, Kept
from load_tests.cluster_nodes import Nodes
from tests.postgresql import find_programs

_DEAD_S = 10.0


def _phases() -> list[Phase]:
    return [
        Phase("calm", 0.0, 9.0),
        Phase("lose_a_node", 9.0, 20.0, 5.0, {"dead_s": _DEAD_S}),
        Phase("restart_postgresql", 20.0, 30.0, 3.0),
    ]


def _asked(kind: Any, began_s: float, status: int, code: str = "") -> Asked:
    return Asked(kind, began_s, began_s + 0.5, status, code)


def _judged(*asked: Asked, acknowledged: tuple[str, ...] = ("c1",), stored: tuple[str, ...] = ("c1",)) -> dict[str, Any]:
    kept = Kept(list(asked), {f"key-{number}": name for number, name in enumerate(acknowledged)})
    return judged(kept, _phases(), list(stored), {})


def test_what_is_promised_may_fail_and_nothing_else() -> None:
    assert _judged(_asked("predict", 1.0, 200))["kept"]
    assert _judged(_asked("predict", 9.8, 0, "ReadError"))["kept"], "in flight on the dead node"
    assert _judged(_asked("correct", 21.0, 503, "store_unavailable OperationalError"))["kept"], "sent again later"
    assert _judged(_asked("correct", 19.8, 503, "store_unavailable"))["kept"], "cut off when the store was ended"
    assert not _judged(_asked("predict", 8.0, 0, "ReadError"))["kept"], "before anything had happened"
    assert not _judged(_asked("predict", 12.0, 500))["kept"], "begun after the node was dead"
    assert not _judged(_asked("predict", 21.0, 503, "store_unavailable"))["kept"], "predicting needs no store"
    assert not _judged(_asked("correct", 12.0, 503, "store_unavailable"))["kept"], "the store was there"


def test_a_correction_that_is_lost_or_doubled_is_told() -> None:
    assert not _judged(stored=())["kept"]
    assert not _judged(stored=("c1", "c1"))["kept"]
    assert not _judged(acknowledged=("c1", "c1"))["kept"], "two keys, one correction"
    assert not _judged(acknowledged=(), stored=())["kept"], "nothing was tried"
    assert _judged(stored=("c1", "not acknowledged in time"))["kept"]


def test_a_service_that_does_not_become_whole_is_told() -> None:
    phases = [*_phases(), Phase("roll_out", 30.0, 31.0)]
    assert not judged(Kept([], {"key": "c1"}), phases, ["c1"], {})["kept"]


def test_of_nodes_that_do_not_come_up_no_process_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[subprocess.Popen[bytes]] = []

    def node(*_: object, **__: object) -> None:
        begun.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        raise RuntimeError("the current node timed out during startup")

    monkeypatch.setattr("ray._private.node.Node", node)
    # It sets variables for what it starts.
    monkeypatch.setattr("os.environ", os.environ.copy())
    nodes = Nodes({}, tmp_path / "caches")
    with pytest.raises(RuntimeError, match="timed out"):
        nodes.start()
    assert [process.wait(10) for process in begun] == [-signal.SIGKILL]
    nodes.stop()


def test_what_does_not_happen_is_told_together_with_the_state_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE_S", 0.0)
    scene: Any = Scene.__new__(Scene)
    scene.nodes = SimpleNamespace(account=lambda: {"applications": {"hone": {"status": "DEPLOY_FAILED"}}})
    answers = iter([httpx.Response(404), httpx.Response(200, json={"replicas": [{"state": "starting"}], "uptime_s": 1})])
    scene.http = httpx.Client(transport=httpx.MockTransport(lambda _: next(answers)), base_url="http://here")
    with pytest.raises(SystemExit, match=r"(?s)within 0 s: it answers.*DEPLOY_FAILED.*404"):
        scene.until("it answers", lambda: False)
    with pytest.raises(SystemExit, match=r"(?s)starting"):
        scene.until("it answers", lambda: False)


@pytest.mark.integration
@pytest.mark.skipif(find_programs() is None, reason="PostgreSQL is not installed")
def test_a_cluster_loses_nothing_while_its_parts_fail(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HONE_", "RAY_", "AWS_"))}
    command = [sys.executable, "-m", "load_tests.cluster", "--smoke", "--out", str(tmp_path / "found.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4_000:]
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["kept"]
    assert found["corrections"]["acknowledged"] > 0
    phases = {phase["phase"]: phase for phase in found["phases"]}
    assert all(phase["requests"] for phase in phases.values())
    assert phases["train"]["state"] == "succeeded"
    assert (phases["lose_s3"]["status"], phases["lose_s3"]["code"]) == (503, "bundles_unavailable")
    # Two nodes at least had replicas, each with a copy of its own of what was rolled out.
    assert sum("v2" in versions for versions in found["pulled"].values()) >= 2
