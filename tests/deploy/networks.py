"""Two machines in one: network namespaces joined by a cable, which leave the machine's own network alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

HERE, THERE = "198.18.77.1", "198.18.77.2"
"""Addresses of the two ends; the range is reserved for tests (RFC 2544)."""

_ASK = """
import http.client, sys
host, port, method, path, headers, body = sys.argv[1:]
connection = http.client.HTTPConnection(host, int(port), timeout=5)
try:
    connection.request(method, path, body or None, dict(line.split(": ") for line in headers.splitlines()))
    answer = connection.getresponse()
    print(answer.status, answer.read().decode())
except Exception as error:
    print(type(error).__name__)
"""


@dataclass(frozen=True)
class Machine:
    """One of the two, by the process that holds its namespaces."""

    pid: int

    @property
    def prefix(self) -> list[str]:
        """What makes a command run on it."""
        return ["nsenter", "-t", str(self.pid), "-U", "-n", "--preserve-credentials"]

    def run(self, *command: str) -> str:
        """Return what a command prints there."""
        return subprocess.run([*self.prefix, *command], check=True, capture_output=True, text=True, timeout=30).stdout

    def ask(self, host: str, port: int, method: str, path: str, headers: Sequence[str] = (), body: str = "") -> str:
        """Return status and body of an answer over HTTP, or the name of what went wrong."""
        return self.run(sys.executable, "-c", _ASK, host, str(port), method, path, "\n".join(headers), body).strip()

    def listening(self) -> list[tuple[str, int]]:
        """Return the addresses and ports at which anything listens there."""
        found = [line.split()[3].rpartition(":") for line in self.run("ss", "-Hltn").splitlines()]
        return [(host, int(port)) for host, _, port in found]


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Give two machines that reach each other at ``HERE`` and ``THERE``; skips the test where the system forbids it."""
    with ExitStack() as held:
        try:
            here = _hold(held, [])
            there = _hold(held, here.prefix)
            here.run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "other", "netns", str(there.pid))
            for machine, name, address in ((here, "cable", HERE), (there, "other", THERE)):
                machine.run("ip", "link", "set", "lo", "up")
                machine.run("ip", "address", "add", f"{address}/30", "dev", name)
                machine.run("ip", "link", "set", name, "up")
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"no network namespaces can be made here ({type(error).__name__}): {getattr(error, 'stderr', '')}")
        yield here, there


def _hold(held: ExitStack, prefix: Sequence[str]) -> Machine:
    """Start a process that has namespaces of its own: of users, so that it takes no rights, and of the network."""
    command = [*prefix, "unshare", "-n"] if prefix else ["unshare", "-r", "-n"]
    # It says so when it has them, and ends when its standard input does.
    holder = subprocess.Popen([*command, "sh", "-c", "echo; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    held.callback(holder.wait)
    held.callback(holder.stdin.close)
    held.callback(holder.stdout.close)
    if not holder.stdout.readline():
        raise OSError("unshare is not permitted")
    return Machine(holder.pid)
