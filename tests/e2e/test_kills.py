"""What callers notice when a process of a running stack is killed, and when the stack is asked to end: as little as can be.

One stack with two replicas serves all tests of kills; the one of an orderly end has its own.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from core.registry import Registry
from core.settings import Settings
from deploy.stack.guard import stack_processes
from deploy.stack.ingress import haproxy_program
from deploy.stack.preflight import TRACE, Trace
from tests.bundles import register_ngram_bundle
from tests.e2e.stacks import Stack, running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(haproxy_program() is None, reason="HAProxy does not run here"),
]

_CLIENTS = 8
_PATIENCE_S = 60.0
_RETRYABLE = {502, 503, 504}


@dataclass
class Deployment:
    """The stack under test, and who is who in it."""

    stack: Stack
    trace: Trace

    def pids(self, title: str) -> set[int]:
        """Return the ids of the stack's processes whose command line begins with ``title`` or has it as its program."""
        found = set()
        for process in stack_processes(self.trace.mark, self.trace.folder, frozenset()):
            try:
                command = process.cmdline()
            except psutil.Error:
                continue
            if command and (command[0].startswith(title) or os.path.basename(command[0]) == title):
                found.add(process.pid)
        return found


@dataclass(eq=False)
class Client(threading.Thread):
    """Asks without a pause on one connection, as a client with retries would; keeps what came back."""

    url: str
    ended: threading.Event
    answers: int = 0
    last_answer: float = 0.0
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(name="client")

    def run(self) -> None:
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as http:
            while not self.ended.is_set():
                try:
                    response = http.post("/v1/predict", json={"text": "so positive"})
                except httpx.TransportError as error:
                    self.failures.append(type(error).__name__)
                    time.sleep(0.02)
                    continue
                if response.status_code == 200:
                    self.answers += 1
                    self.last_answer = time.monotonic()
                else:
                    self.failures.append(str(response.status_code))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with _deployed(tmp_path_factory.mktemp("kills") / "home") as made:
        yield made


@contextmanager
def _deployed(home: Path) -> Iterator[Deployment]:
    settings = Settings(HONE_HOME=home)
    settings.home.prepare()
    registry = Registry(settings.home.registry)
    registry.promote(register_ngram_bundle(registry), by="test", why="a fixture")
    with running(home, replicas="2", ingress="haproxy", learn_after_corrections="0") as stack:
        made = Deployment(stack, Trace.model_validate_json((home / TRACE).read_bytes()))
        _until("both replicas serve", lambda: _serving(stack) == 2)
        yield made


@contextmanager
def load(stack: Stack) -> Iterator[list[Client]]:
    """Ask from several connections for the time of the block; what came back is there at its end."""
    ended = threading.Event()
    clients = [Client(stack.url, ended) for _ in range(_CLIENTS)]
    for client in clients:
        client.start()
    try:
        _until("all clients are answered", lambda: all(client.answers > 5 for client in clients))
        yield clients
    finally:
        ended.set()
        for client in clients:
            client.join()


def _until(what: str, check: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not check():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def _serving(stack: Stack) -> int:
    try:
        found = httpx.get(f"{stack.url}/v1/status", timeout=5).json()
    except httpx.TransportError:
        return 0
    return sum(replica["state"] == "serving" for replica in found.get("replicas", []))


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")


def _report(what: str, clients: list[Client]) -> Counter[str]:
    failures = Counter(failure for client in clients for failure in client.failures)
    _say(f"{what}: {sum(client.answers for client in clients)} answered, failed {dict(failures)}")
    return failures


def _answered_again(clients: list[Client]) -> None:
    now = time.monotonic()
    _until("all clients are answered again", lambda: all(client.last_answer > now for client in clients))


def test_a_killed_replica_is_replaced_and_what_failed_may_be_sent_again(deployment: Deployment) -> None:
    replicas = deployment.pids("ray::ServeReplica")
    assert len(replicas) == 2
    victim = min(replicas)
    with load(deployment.stack) as clients:
        os.kill(victim, signal.SIGKILL)
        _until("two replicas run again", lambda: len(deployment.pids("ray::ServeReplica") - {victim}) == 2)
        _until("two replicas serve again", lambda: _serving(deployment.stack) >= 2)
        _answered_again(clients)
    _check_retryable(_report("replica killed", clients))


def test_answers_go_on_without_the_controller_and_it_comes_back(deployment: Deployment) -> None:
    (victim,) = deployment.pids("ray::ServeController")
    with load(deployment.stack) as clients:
        os.kill(victim, signal.SIGKILL)
        _until("a new controller runs", lambda: bool(deployment.pids("ray::ServeController") - {victim}))
        _answered_again(clients)
    assert _report("controller killed", clients).total() == 0


def test_haproxy_comes_back_and_what_failed_may_be_sent_again(deployment: Deployment) -> None:
    with load(deployment.stack) as clients:
        killed = time.monotonic()
        for victim in deployment.pids("haproxy"):
            # One that a newer one has replaced may be ending just now.
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        _answered_again(clients)
        _say(f"HAProxy away for {time.monotonic() - killed:.1f} s")
        # Ray notices later, starts its own keeper anew, and that one takes over without a gap.
        _until("Ray keeps HAProxy again", lambda: _kept_by_ray(deployment))
        _answered_again(clients)
    _check_retryable(_report("HAProxy killed", clients), at_most=None)


def _check_retryable(failures: Counter[str], at_most: int | None = _CLIENTS) -> None:
    """Check that no more failed than were in flight, and all of it in ways after which a client sends a request again."""
    statuses = {name for name in failures if name.isdigit()}
    assert {int(status) for status in statuses} <= _RETRYABLE
    assert set(failures) - statuses <= {"ConnectError", "ReadError", "RemoteProtocolError"}
    assert at_most is None or failures.total() <= at_most


def _kept_by_ray(deployment: Deployment) -> bool:
    managers = deployment.pids("ray::HAProxyManager")
    return any(psutil.Process(pid).ppid() in managers for pid in deployment.pids("haproxy"))


def test_at_an_orderly_end_what_is_in_flight_is_answered(tmp_path: Path) -> None:
    with _deployed(tmp_path / "home") as deployment:
        _end_with_requests_in_flight(deployment)


def _end_with_requests_in_flight(deployment: Deployment) -> None:
    body = b'{"text": "so positive"}'
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    callers = [socket.create_connection(("127.0.0.1", deployment.stack.port), timeout=30) for _ in range(_CLIENTS)]
    for caller in callers:
        caller.sendall(head.encode() + body[:8])
    time.sleep(0.3)
    began = time.monotonic()
    deployment.stack.process.send_signal(signal.SIGINT)
    _until("nobody new is let in", lambda: _refused(deployment.stack.port))
    for caller in callers:
        caller.sendall(body[8:])
    answers = [caller.recv(65_536) for caller in callers]
    for caller in callers:
        caller.close()
    assert deployment.stack.process.wait(30) == 0
    answered = sum(item.startswith(b"HTTP/1.1 200 ") for item in answers)
    _say(f"in flight at the end: {len(answers)}, answered {answered}; ended in {time.monotonic() - began:.1f} s")
    assert answered == len(callers)
    assert stack_processes(deployment.trace.mark, deployment.trace.folder, frozenset()) == []
    assert not deployment.trace.folder.exists()


def _refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
