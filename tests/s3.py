"""An S3 of the tests' own: moto's server in a process of its own, on loopback, and gone when they are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.ports import free_port

_LOOKS, _LOOK_EVERY_S = 600, 0.05


class S3:
    """One server with one bucket; what is in it is lost when it ends, and not while it hangs."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What whoever uses it is started with."""
        return {
            "AWS_ACCESS_KEY_ID": "a-test",
            "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
            "AWS_REGION": "us-east-1",
            "HONE_BUNDLES_ENDPOINT": self.url,
        }

    def start(self) -> None:
        """Start it and return when the bucket ``hone`` is there."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        # It must not take this environment's credentials for somebody's, nor ask anybody who it is.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        for _ in range(_LOOKS):
            assert self._process.poll() is None, "moto's server does not start"
            try:
                made = httpx.put(f"{self.url}/hone", trust_env=False)
            except httpx.TransportError:
                time.sleep(_LOOK_EVERY_S)
                continue
            made.raise_for_status()
            return
        raise AssertionError("moto's server does not answer")

    def stop(self) -> None:
        """End it. Safe to call twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def put(self, key: str, data: bytes) -> None:
        """Put an object there behind everybody's back."""
        httpx.put(f"{self.url}/hone/{key}", content=data, trust_env=False).raise_for_status()

    def names(self) -> list[str]:
        """Return the names of all objects."""
        listed = httpx.get(f"{self.url}/hone?list-type=2", trust_env=False).text
        return [part.partition("</Key>")[0] for part in listed.split("<Key>")[1:]]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it hang: it is there, and answers nobody."""
        import psutil

        assert self._process is not None
        process = psutil.Process(self._process.pid)
        process.suspend()
        try:
            yield
        finally:
            process.resume()
