"""`hone up` as a person meets it: started, asked, killed, started again, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from core.registry import Registry
from core.settings import Settings
from deploy.client import ServiceClient
from deploy.stack.guard import stack_processes
from deploy.stack.learner import settings_environment
from deploy.stack.preflight import TRACE, Trace
from tests.collectors import Collector, collecting
from tests.deploy.test_quiet import QUIETING
from tests.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("registry")]

HONE = [sys.executable, "-c", "from deploy.cli import main; main()", "up"]


@dataclass(frozen=True)
class Stack:
    """A running `hone up` in a session of its own, with what tells its processes from others."""

    process: subprocess.Popen[str]
    trace: Trace

    def alive(self) -> set[str]:
        """Return the names of all processes that belong to it."""
        own = stack_processes(self.trace.mark, self.trace.folder, frozenset())
        session = [item for item in psutil.process_iter() if item.pid == self.process.pid or _session(item) == self.process.pid]
        return {name for item in [*own, *session] if (name := _living(item))}

    def wait_until_gone(self, within_s: float) -> None:
        """Return when no process and no folder of it is left."""
        deadline = time.monotonic() + within_s
        while (left := self.alive()) or self.trace.folder.exists():
            assert time.monotonic() < deadline, left
            time.sleep(0.2)


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None


def _living(process: psutil.Process) -> str | None:
    """Return the name of a process, None of one that ended, perhaps just now."""
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.NoSuchProcess:
        return None


def environment(settings: Settings, user: Path) -> dict[str, str]:
    """Return the environment of a stack whose user has an empty home folder of their own."""
    inherited = {name: value for name, value in os.environ.items() if name not in QUIETING}
    return {**inherited, **settings_environment(settings), "HOME": str(user), "COLUMNS": "200"}


@contextmanager
def up(settings: Settings, user: Path, prefix: Sequence[str] = ()) -> Iterator[Stack]:
    """Start a stack, by way of the command ``prefix``, and yield when it answers; what is left at the end is killed."""
    # From a folder of no importance: the workers must find the packages without it.
    process = subprocess.Popen(
        [*prefix, *HONE],
        env=environment(settings, user),
        cwd=user,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C ends it" in line:
            break
    assert process.poll() is None, "".join(lines)
    stack = Stack(process, Trace.model_validate_json((settings.home.root / TRACE).read_bytes()))
    try:
        yield stack
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
        stack.wait_until_gone(30)


def refused(settings: Settings, user: Path) -> str:
    """Return the one sentence with which a start is refused."""
    result = subprocess.run(HONE, env=environment(settings, user), capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    return result.stderr


def check_metrics(settings: Settings) -> None:
    """Check that the one target that is named answers, by the way callers come, for replica and learner."""
    with httpx.Client(base_url=settings.url, trust_env=False, timeout=30) as http:
        (group,) = http.get("/v1/metrics/targets").json()
        assert group["targets"] == [f"127.0.0.1:{settings.port}"]
        deadline = time.monotonic() + 60
        while True:
            told = http.get("/metrics", params={"node": group["labels"]["__param_node"]}).raise_for_status().text
            if 'hone_process_threads{process="learner"}' in told:
                break
            assert time.monotonic() < deadline, "the learner counts elsewhere"
            time.sleep(0.5)
    assert 'hone_requests_total{route="/v1/corrections",status="201"} 1.0' in told
    assert 'hone_process_threads{process="replica"}' in told


def watched(settings: Settings, collector: Collector) -> Settings:
    """Return settings with which everything that can be told of requests is."""
    return settings.model_copy(update={"access_log_ratio": 1.0, "traces_url": collector.url})


def check_told(settings: Settings, collector: Collector) -> None:
    """Check that the prediction is in the access log and in a trace, and its text in neither."""
    deadline = time.monotonic() + 30
    while not (predicted := [span for span in collector.spans() if span.name == "POST /v1/predict"]):
        assert time.monotonic() < deadline, "no trace came"
        time.sleep(0.2)
    below = {span.name for span in collector.spans() if span.trace_id == predicted[-1].trace_id}
    assert {"tokenization", "engine"} <= below
    # Lines are written a few times a second.
    while True:
        written = (settings.home.logs / "access.jsonl").read_text()
        lines = [json.loads(line) for line in written.splitlines()]
        ours = next((line for line in lines if line["route"] == "/v1/corrections" and line["status"] == 201), None)
        if ours is not None:
            break
        assert time.monotonic() < deadline + 30, "the access log lacks the correction"
        time.sleep(0.1)
    assert (ours["client"], ours["method"]) == ("hone", "POST")
    assert {line["version"] for line in lines if line["route"] == "/v1/predict" and line["status"] == 200} == {"v1"}
    assert "so positive" not in written
    assert not any(b"so positive" in request.SerializeToString() for request in collector.received)


def test_a_stack_that_was_killed_starts_again_with_all_it_had_acknowledged(
    settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    user = tmp_path / "user"
    user.mkdir()
    client = ServiceClient(settings)
    with collecting() as collector, up(watched(settings, collector), user) as first:
        answer = client.predict("so positive")
        assert (answer.label, answer.model_version) == ("positive", "v1")
        assert "another hone already runs" in refused(settings.model_copy(update={"port": free_port()}), user)
        beside = settings.model_copy(update={"home_dir": tmp_path / "beside"})
        assert f"port {settings.port} on 127.0.0.1 is in use" in refused(beside, user)
        correction = client.correct("neutral", prediction_id=answer.prediction_id)
        check_metrics(settings)
        check_told(settings, collector)
        first.process.kill()
        first.wait_until_gone(20)

    with up(settings, user) as second:
        kept = client.corrections().corrections
        assert [item.correction_id for item in kept] == [correction.correction_id]
        assert client.predict("so positive").model_version == "v1"
        second.process.send_signal(signal.SIGINT)
        assert second.process.wait(20) == 0
        assert second.alive() == set()
        assert not second.trace.folder.exists()

    assert list(user.iterdir()) == [], "nothing, such as Ray's token, may be left in the user's home folder"
    assert registry.aliases().champion == "v1"
