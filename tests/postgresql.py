"""A PostgreSQL server of the tests' own: made in a temporary folder, on loopback, and gone when they are."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psutil
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from tests.ports import free_port

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
# PostgreSQL refuses to run as root; both are there on every Linux that could have its package.
_UNPRIVILEGED = ("postgres", "nobody")
_LOOKS, _LOOK_EVERY_S = 600, 0.05
# Durability is what is tested: of PostgreSQL's own settings only sizes are changed.
_SETTINGS = ("max_connections=60", "shared_buffers=32MB", "unix_socket_directories=", "listen_addresses=127.0.0.1")


def find_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest release's where there are several; None where there is none."""
    found = [path.parent for place in _PLACES for path in Path("/").glob(f"{place[1:]}/initdb")]
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    return max(found, key=lambda path: [int(part) for part in path.parent.name.split(".") if part.isdigit()], default=None)


class PostgreSQL:
    """One server. ``start`` and the ways to end it may be called again and again; its data stay until ``remove``."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._user = next((name for name in _UNPRIVILEGED if _exists(name)), None) if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="hone-postgresql-"))
        self._data = self._folder / "data"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "hone", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions")

    @property
    def url(self) -> str:
        """The address of its database for administration."""
        return f"postgresql+psycopg://hone@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start it and return when it takes connections."""
        settings = [word for setting in (*_SETTINGS, f"port={self._port}") for word in ("-c", setting)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._data), *settings],
                user=self._user,
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        self._wait()

    def stop(self) -> None:
        """End it in order, without waiting for those who are connected."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a power cut would: all its processes at once."""
        for process in self._processes():
            process.kill()
        self._end(signal.SIGKILL)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it hang: it is there, and answers nobody."""
        stopped = self._processes()
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                process.resume()

    @contextmanager
    def database(self) -> Iterator[str]:
        """Give the address of an empty database that is dropped at the end."""
        name = f"hone_test_{uuid4().hex}"
        self._execute(f"CREATE DATABASE {name}")
        try:
            yield self.url.removesuffix("postgres") + name
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def remove(self) -> None:
        """End it and remove its data."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _execute(self, statement: str) -> None:
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def _processes(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        server = psutil.Process(self._process.pid)
        # The server first: it would start again whatever ends before it.
        return [server, *server.children(recursive=True)]

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(60)
        self._process = None

    def _wait(self) -> None:
        engine = create_engine(self.url)
        for _ in range(_LOOKS):
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2_000:]
            try:
                with engine.connect():
                    break
            except OperationalError:
                time.sleep(_LOOK_EVERY_S)
        else:
            raise AssertionError(f"PostgreSQL took no connection: {(self._folder / 'log').read_text()[-2_000:]}")
        engine.dispose()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, user=self._user, cwd=self._folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{program} failed: {done.stderr or done.stdout}"


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
