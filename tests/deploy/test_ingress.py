"""The way in: which one is chosen, what Ray is told, and what becomes of Ray's configuration of HAProxy."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from core import errors
from core.errors import StackError
from core.settings import Settings
from deploy.stack import ingress
from deploy.stack.haproxy import REPEATABLE_PATHS, Way, all_living, edited, living, main, with_replicas, write_errors
from deploy.stack.ingress import LOOPBACK, Ingress, choose, haproxy_program
from serve.direct import in_force, ingress_in_use
from serve.routes_predict import PATH as PREDICT_PATH
from tests.ports import free_port

PROGRAM = haproxy_program()
needs_haproxy = pytest.mark.skipif(PROGRAM is None, reason="HAProxy does not run here")


def ray_config(folder: Path, servers: list[int]) -> str:
    """Return the configuration Ray Serve itself would write, for replicas on ``servers``' ports."""
    from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
    from ray.serve.config import HTTPOptions

    config = HAProxyConfig(
        socket_path=str(folder / "s"),
        server_state_base=str(folder),
        server_state_file=str(folder / "state"),
        http_options=HTTPOptions(host=LOOPBACK, port=8000),
        is_head=True,
        metrics_enabled=False,
        has_received_routes=True,
        retry_on="conn-failure empty-response",
        retries=3,
        timeout_client_s=20,
        timeout_server_s=20,
    )
    found = [ServerConfig(name=f"replica-{port}", host=LOOPBACK, port=port) for port in servers]
    backends = {"hone": BackendConfig(name="http-hone", path_prefix="/", app_name="hone", servers=found)} if servers else {}
    path = folder / "haproxy.cfg"
    HAProxyApi(config, backends, str(path))._generate_config_file_internal()
    return path.read_text()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder whose name leaves room for that of a socket."""
    from deploy.stack.cluster import short_folder

    made = short_folder()
    yield made
    for file in made.iterdir():
        file.unlink()
    made.rmdir()


def test_what_stands_in_front_can_be_asked_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(settings.model_copy(update={"ingress": "proxy"})) == "proxy"
    monkeypatch.setattr(ingress, "haproxy_program", lambda: "/opt/haproxy")
    assert choose(settings) == "haproxy"
    monkeypatch.setattr(ingress, "haproxy_program", lambda: None)
    assert choose(settings) == "proxy"
    with pytest.raises(StackError, match="no HAProxy runs here"):
        choose(settings.model_copy(update={"ingress": "haproxy"}))


def test_no_haproxy_but_a_closed_one_is_started(settings: Settings, folder: Path) -> None:
    prepared = Ingress(settings.model_copy(update={"ingress": "proxy"}), folder).prepare()
    assert (ingress_in_use(prepared), in_force(prepared)) == ("proxy", False)


@needs_haproxy
def test_two_stacks_share_no_port(settings: Settings, folder: Path) -> None:
    first, second = Ingress(settings, folder), Ingress(settings, folder)
    one, other = first.prepare(), second.prepare()
    assert (ingress_in_use(one), in_force(one)) == ("haproxy", True)
    names = [f"RAY_SERVE_DIRECT_INGRESS_{end}_HTTP_PORT" for end in ("MIN", "MAX")]
    ranges = [range(int(variables[names[0]]), int(variables[names[1]])) for variables in (one, other)]
    fallbacks = {int(variables["RAY_SERVE_FALLBACK_PROXY_HTTP_PORT"]) for variables in (one, other)}
    assert len(fallbacks) == 2
    assert not set(ranges[0]) & set(ranges[1])
    assert not fallbacks & {*ranges[0], *ranges[1]}
    assert all(len(ports) > 256 for ports in ranges), "room for as many replicas as there may be"
    first.close()
    assert Ingress(settings, folder).prepare()[names[0]] == one[names[0]], "what a stack had is free again after it"
    second.close()


@needs_haproxy
def test_only_the_way_in_listens(folder: Path) -> None:
    config = edited(ray_config(folder, [20_003]), Way("haproxy", "127.0.0.1:8321", 10.0), folder)
    assert [line.strip() for line in config.splitlines() if line.strip().startswith("bind ")] == ["bind 127.0.0.1:8321"]
    assert "mode 600 level admin" in config
    assert "local0" not in config
    assert edited(config, Way("haproxy", "127.0.0.1:8321", 10.0), folder) == config


@needs_haproxy
@pytest.mark.parametrize("bind", ["127.0.0.1:8321", "0.0.0.0:8321", "[::1]:8321", "[::]:8321"])
def test_haproxy_takes_the_configuration_without_a_warning(folder: Path, bind: str) -> None:
    config = edited(ray_config(folder, [20_003, 20_004]), Way("haproxy", bind, 10.0), folder)
    write_errors(folder)
    (folder / "haproxy.cfg").write_text(config)
    command = [str(PROGRAM), "-c", "-f", str(folder / "haproxy.cfg")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0
    assert "[WARNING]" not in checked.stderr


@needs_haproxy
@pytest.mark.parametrize("line", ["listen more\n  bind *:9000\n", "frontend more\n    bind :9000\n"])
def test_a_configuration_that_opens_more_is_refused(folder: Path, line: str) -> None:
    with pytest.raises(ValueError, match="not on 127"):
        edited(ray_config(folder, [20_003]) + line, Way("haproxy", "127.0.0.1:8321", 10.0), folder)


@needs_haproxy
def test_a_configuration_of_another_ray_is_refused(folder: Path) -> None:
    config = ray_config(folder, [20_003]).replace("mode 666 ", "")
    with pytest.raises(ValueError, match="has 0 places"):
        edited(config, Way("haproxy", "127.0.0.1:8321", 10.0), folder)


@needs_haproxy
def test_a_keeper_that_knows_of_no_replica_yet_does_not_undo_what_was_known(folder: Path) -> None:
    way = Way("haproxy", "127.0.0.1:8321", 10.0)
    known, unknown = (edited(ray_config(folder, servers), way, folder) for servers in ([20_003], []))
    assert with_replicas(unknown, folder) == unknown
    assert with_replicas(known, folder) == known
    assert with_replicas(unknown, folder) == known


def test_its_own_errors_have_the_shape_and_the_codes_of_all_errors(folder: Path) -> None:
    write_errors(folder)
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.HoneError)}
    for status in (400, 408, 502, 503, 504):
        head, _, body = (folder / f"{status}.http").read_bytes().decode("ascii").partition("\r\n\r\n")
        answer = json.loads(body)
        assert answer.keys() == {"error", "code", "details", "request_id"}
        assert answer["code"] in codes
        assert f"Content-Length: {len(body)}" in head
        assert ("Retry-After" in head) == head.startswith("HTTP/1.1 503")


def test_predictions_may_be_sent_twice() -> None:
    assert PREDICT_PATH in REPEATABLE_PATHS
    assert not any("corrections" in path or "models/" in path for path in REPEATABLE_PATHS)


@dataclass
class Front:
    """A running HAProxy before servers of this test's."""

    url: str
    port: int
    folder: Path


class Replica(http.server.ThreadingHTTPServer):
    """Answers with its port; one that ``dies`` closes the connection instead, having read the request."""

    def __init__(self, *, dies: bool) -> None:
        self.dies = dies
        self.asked = 0
        super().__init__((LOOPBACK, 0), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Replica

    def do_POST(self) -> None:
        self.server.asked += 1
        self.rfile.read(int(self.headers["content-length"]))
        if self.server.dies:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def front(folder: Path, servers: list[Replica], read_s: float = 10.0) -> Iterator[Front]:
    """Run the real HAProxy on Ray's configuration, as Ray would start it."""
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ray_config(folder, [server.server_port for server in servers])
    port = free_port()
    script = folder / "haproxy"
    script.write_text(ingress._script(Settings(HONE_HOME=folder / "home", port=port, read_timeout_s=read_s)))
    script.chmod(0o700)
    process = subprocess.Popen([str(script), "-db", "-f", str(folder / "haproxy.cfg"), "-dR"], stderr=subprocess.DEVNULL)
    try:
        _until(lambda: _listens(port))
        yield Front(f"http://{LOOPBACK}:{port}", port, folder)
    finally:
        process.kill()
        process.wait()
        for server in servers:
            server.shutdown()
            server.server_close()


def _until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not check():
        assert time.monotonic() < end
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


@needs_haproxy
@pytest.mark.integration
def test_a_prediction_outlives_its_replica_and_a_correction_is_not_sent_twice(folder: Path) -> None:
    dying, living_one = Replica(dies=True), Replica(dies=False)
    with front(folder, [dying, living_one]) as way, httpx.Client(base_url=way.url, trust_env=False) as http_client:
        answers = [http_client.post(PREDICT_PATH, json={"text": "so positive"}).status_code for _ in range(10)]
        assert answers == [200] * 10
        assert dying.asked > 0
        asked = dying.asked + living_one.asked
        refused = [http_client.post("/v1/corrections", json={"label": "neutral"}) for _ in range(4)]
        assert dying.asked + living_one.asked == asked + 4
        failed = [answer for answer in refused if answer.status_code != 200]
        assert failed, "one in two meets the replica that dies"
        for answer in failed:
            assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "1")


@needs_haproxy
@pytest.mark.integration
def test_slow_and_oversized_callers_reach_no_replica(folder: Path) -> None:
    replica = Replica(dies=False)
    with front(folder, [replica], read_s=0.5) as way:
        head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n"
        slow_head = _told(way.port, head + b"X-Slow: ")
        assert slow_head.startswith(b"HTTP/1.1 408 ")
        slow_body = _told(way.port, head + b"Content-Length: 100\r\n\r\n{")
        assert slow_body.startswith(b"HTTP/1.1 408 ")
        assert b'"code": "body_too_slow"' in slow_body
        large_head = _told(way.port, head + b"X-Large: " + b"x" * 40_000)
        assert large_head.startswith(b"HTTP/1.1 400 ")
        # As docs/errors.md says: these two are HAProxy's own. Should it take ours one day, that sentence goes.
        assert b"text/html" in slow_head
        assert b"text/html" in large_head
        assert replica.asked == 0


def _told(port: int, begun: bytes) -> bytes:
    """Return what is answered to a request that goes no further."""
    with socket.create_connection((LOOPBACK, port), timeout=20) as caller:
        caller.sendall(begun)
        return caller.recv(65_536)


@needs_haproxy
@pytest.mark.integration
def test_draining_waits_for_requests_and_not_for_idle_callers(folder: Path) -> None:
    replica = Replica(dies=False)
    with front(folder, [replica]) as way, httpx.Client(base_url=way.url, trust_env=False) as idle:
        assert idle.post(PREDICT_PATH, json={}).status_code == 200
        body = b'{"text": "so positive"}'
        with socket.create_connection((LOOPBACK, way.port), timeout=20) as slow:
            slow.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
            time.sleep(0.2)
            _until(lambda: living(folder) is not None)
            drain = threading.Thread(target=ingress._drain, args=(folder, time.monotonic() + 20))
            drain.start()
            _until(lambda: not _listens(way.port))
            assert drain.is_alive()
            slow.sendall(body)
            assert slow.recv(65_536).startswith(b"HTTP/1.1 200 ")
            drain.join(1.0)
            assert not drain.is_alive()


@needs_haproxy
@pytest.mark.integration
def test_draining_waits_for_requests_that_one_before_it_has(settings: Settings, folder: Path) -> None:
    replica = Replica(dies=False)
    body = b'{"text": "so positive"}'
    inside = folder / "node"
    inside.mkdir()
    ended = Ingress(settings, folder)
    with ExitStack() as parts:
        way = parts.enter_context(front(inside, [replica]))
        slow = parts.enter_context(socket.create_connection((LOOPBACK, way.port), timeout=20))
        slow.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        time.sleep(0.2)
        first = living(inside)
        command = [str(inside / "haproxy"), "-db", "-f", str(inside / "haproxy.cfg"), "-dR"]
        second = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        parts.callback(second.wait)
        parts.callback(second.kill)
        # It is asked to end while the second has only just begun.
        _until(lambda: living(inside) == second.pid)
        drain = threading.Thread(target=ended.close)
        drain.start()
        _until(lambda: not _listens(way.port))
        assert first in all_living(inside)
        assert drain.is_alive()
        third = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        assert (third.returncode, third.stderr.strip()) == (
            1,
            "the service ends, so nothing takes its place before the replicas",
        )
        slow.sendall(body)
        assert slow.recv(65_536).startswith(b"HTTP/1.1 200 ")
        drain.join(3.0)
        assert not drain.is_alive()
    for file in inside.iterdir():
        file.unlink()
    inside.rmdir()


@needs_haproxy
@pytest.mark.integration
def test_a_new_keeper_takes_over_from_the_haproxy_that_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with front(folder, [Replica(dies=False)]) as way:
        _until(lambda: living(folder) is not None)
        called: list[list[str]] = []
        monkeypatch.setattr("os.execv", lambda _, arguments: called.append(arguments))
        predecessor = living(folder)
        main([str(PROGRAM), f"{LOOPBACK}:{way.port}", "10", "-db", "-f", str(folder / "haproxy.cfg")])
        assert called[0][-4:] == ["-sf", str(predecessor), "-x", str(folder / "s")]
