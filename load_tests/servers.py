"""Starting and ending the servers that are compared, each in processes of its own and on a free port."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from core.keys import KeyRing
from core.registry import Registry
from core.settings import Settings
from tests.ports import free_port

_START_S = 240.0
_END_S = 60.0
_SETTLE_S = 30
_SETTLED_CORES = 0.15


@dataclass(frozen=True)
class Server:
    """A server that answers: ``url`` takes predictions, ``base`` is where its other routes are."""

    name: str
    base: str
    path: str
    process: psutil.Process
    headers: Mapping[str, str] = field(default_factory=dict)
    # A body it answers with 200 once it is ready.
    probe: Mapping[str, Any] = field(default_factory=lambda: {"text": "Is anybody there?"})

    @property
    def url(self) -> str:
        """Where predictions are asked for."""
        return self.base + self.path

    def client(self) -> httpx.Client:
        """Return a client for its other routes."""
        return httpx.Client(base_url=self.base, headers=dict(self.headers), timeout=30, trust_env=False)

    def memory_bytes(self) -> int:
        """Return the resident memory of all its processes; what they share counts in each."""
        return sum(_resident(process) for process in [self.process, *self.process.children(recursive=True)])

    def cpu_s(self) -> float:
        """Return the processor time all its processes have used so far."""
        return sum(_used(process) for process in [self.process, *self.process.children(recursive=True)])


def ensure_champion(home: Path, data: Path | None, *, features: str = "both") -> Path:
    """Return the champion's folder in ``home``; where there is none, one is taught: MiniLM as it is, n-grams, a linear head.

    ``features`` may be ``encoder``, which leaves the n-grams out.

    Raises:
        SystemExit: teaching failed, or the gate did not promote what came of it.
    """
    registry = Registry(Settings.model_validate({"HONE_HOME": home}).home.registry)
    if registry.aliases().champion is None:
        print(f"teaching a model from {data or 'the sample data'} …", file=sys.stderr)
        command = [sys.executable, "-c", "from deploy.cli import main; main()", "train", "--speed=head"]
        command += [f"--features={features}"]
        done = subprocess.run(
            [*command, *(["--data", str(data)] if data else [])],
            env=_environment({"HONE_HOME": str(home)}),
            stdout=sys.stderr,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"teaching ended with code {done.returncode}")
    champion = registry.aliases().champion
    if champion is None:
        raise SystemExit("what was taught was not promoted, so there is nothing to measure")
    return registry.path(champion)


@contextmanager
def hone(home: Path, logs: Path, settings: Mapping[str, str]) -> Iterator[Server]:
    """Run ``hone up`` with everything on that a production service has on: prediction log, metrics, and keys."""
    own = Settings.model_validate({"HONE_HOME": home})
    own.home.prepare()
    _, secret = KeyRing(own.home.keys).create(f"load-test-{secrets.token_hex(4)}", "operate")
    port = free_port()
    environment = {"HONE_HOME": str(home), "HONE_PORT": str(port), "HONE_AUTH": "on", "HONE_API_KEY": secret, **settings}
    command = [sys.executable, "-c", "from deploy.cli import main; main()", "up"]
    with process(command, environment, logs / "hone.log") as started:
        server = Server("hone", f"http://127.0.0.1:{port}", "/v1/predict", started, {"authorization": f"Bearer {secret}"})
        wait(server)
        _settle(server)
        yield server


@contextmanager
def expert(bundle: Path, threads: int, logs: Path, name: str = "expert") -> Iterator[Server]:
    """Run the expert's server on the same engine file and tokenizer, with ``threads`` threads."""
    port = free_port()
    command = [sys.executable, "-m", "load_tests.baselines.expert", "--bundle", str(bundle), "--port", str(port)]
    environment = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    with process([*command, "--threads", str(threads)], environment, logs / f"{name}.log") as started:
        server = Server(name, f"http://127.0.0.1:{port}", "/predict", started)
        wait(server)
        yield server


@contextmanager
def plain_ray(bundle: Path, logs: Path) -> Iterator[Server]:
    """Run Ray Serve with its defaults."""
    port = free_port()
    command = [sys.executable, "-m", "load_tests.baselines.plain_ray", "--bundle", str(bundle), "--port", str(port)]
    with process(command, ray_variables(), logs / "plain_ray.log") as started:
        server = Server("plain_ray", f"http://127.0.0.1:{port}", "/predict", started)
        wait(server)
        yield server


def ray_variables() -> dict[str, str]:
    """Return the environment of a Ray in which nobody else may run code, and that leaves no token file in the home folder.

    It also waits longer for its proxy, which it would end on a busy machine before it has started. None of this changes what a
    request costs.
    """
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    return {**own, "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HONE_", "RAY_"))}
    return {**kept, **own}


@contextmanager
def process(
    command: list[str], environment: Mapping[str, str], log: Path, *, end_s: float = _END_S
) -> Iterator[psutil.Process]:
    """Run ``command`` with its output in ``log``; at the end it is told to stop, and killed after ``end_s``.

    So is each process of its own that it leaves behind.
    """
    with log.open("wb") as output:
        started = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(environment),
            start_new_session=True,
        )
    try:
        yield psutil.Process(started.pid)
    finally:
        own = psutil.Process(started.pid).children(recursive=True) if started.poll() is None else []
        started.send_signal(signal.SIGINT)
        try:
            started.wait(end_s)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        for left in own:
            with suppress(psutil.NoSuchProcess):
                left.kill()


def wait(server: Server) -> None:
    """Return once a prediction was answered."""
    deadline = time.monotonic() + _START_S
    with server.client() as http:
        while time.monotonic() < deadline:
            if not server.process.is_running() or server.process.status() == psutil.STATUS_ZOMBIE:
                raise SystemExit(f"{server.name} ended before it answered; see its log")
            try:
                if http.post(server.path, json=dict(server.probe)).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
    raise SystemExit(f"{server.name} did not answer within {_START_S:g} s; see its log")


def _settle(server: Server) -> None:
    """Return once a service that has just started is done loading what it answers without, the learner above all."""
    for _ in range(_SETTLE_S):
        before = server.cpu_s()
        time.sleep(1.0)
        if server.cpu_s() - before < _SETTLED_CORES:
            return


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _used(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
