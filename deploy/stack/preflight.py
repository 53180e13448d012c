"""What is looked at, and mended, before anything is started."""

from __future__ import annotations

import errno
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from core.errors import BundleError, HomeLocked, LeaseHeld, PortInUse, StackError
from core.home import Home, write_atomically
from core.registry import Registry
from deploy.stack.cluster import FOLDER_PREFIX
from deploy.stack.guard import end_processes

TRACE = "stack.json"
# `hone doctor` takes the lock for an instant, to see whether a stack runs.
_LOCK_WAIT_S = 1.0
_TEACHING = ".teaching"


class Trace(BaseModel):
    """What a running stack notes in its home, so that the next one can clean up after it."""

    mark: str
    pid: int
    folder: Path


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """Hold the home for this process.

    Raises:
        HomeLocked: when another stack runs on it.
    """
    lock = FileLock(home.lock)
    try:
        lock.acquire(timeout=_LOCK_WAIT_S)
    except Timeout as error:
        raise HomeLocked(
            f"another hone already runs on {home.root}; stop it, or set HONE_HOME to another folder", path=str(home.root)
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def teaching(home: Home) -> Iterator[None]:
    """Say that this process writes under ``runs``, so that a stack that starts meanwhile clears nothing away.

    Raises:
        LeaseHeld: when another process teaches on this home.
    """
    lock = FileLock(home.runs / _TEACHING)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LeaseHeld(
            f"another process is training on {home.root}; wait for it, or set HONE_HOME to another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def check_port(host: str, port: int) -> None:
    """Return if ``host:port`` can be listened on.

    Raises:
        PortInUse: when something listens there already.
        StackError: when this machine has no such address, or the port needs privileges.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"port {port} on {host} is in use; stop what listens there, or set HONE_PORT to another port", port=port
            ) from error
        raise StackError(
            f"cannot listen on {host} port {port} ({error.strerror or error}); see HONE_HOST and HONE_PORT"
        ) from error


def mend(home: Home, registry: Registry) -> list[str]:
    """Clear away what an earlier stack left half done, and return what was done, as sentences. The home must be locked.

    Raises:
        BundleError: when no alias can be read, or the champion is damaged and no earlier version can take its place.
    """
    done = [*_end_earlier_stack(home), *_clear_runs(home)]
    # Counters of processes that are gone: kept, they would be added to those of the new ones.
    shutil.rmtree(home.metrics)
    home.metrics.mkdir()
    return [*done, *registry.sweep(), *_replace_damaged_champion(registry)]


def leave_trace(home: Home, trace: Trace) -> None:
    """Note how the running stack's processes can be told from others."""
    write_atomically(home.root / TRACE, trace.model_dump_json().encode())


def running_stack(home: Home) -> int | None:
    """Return the process id of the stack that runs on this home, or None."""
    lock = FileLock(home.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        trace = _read_trace(home)
        return trace.pid if trace else None
    lock.release()
    return None


def _read_trace(home: Home) -> Trace | None:
    try:
        return Trace.model_validate_json((home.root / TRACE).read_bytes())
    except (OSError, ValidationError):
        return None


def _end_earlier_stack(home: Home) -> list[str]:
    trace = _read_trace(home)
    if trace is None:
        return []
    count = end_processes(trace.mark, trace.folder)
    folder = trace.folder
    # The name comes from a file: only what can be such a folder is removed.
    parents = (Path("/tmp"), Path(tempfile.gettempdir()))  # noqa: S108 - compared, not written to
    if folder.name.startswith(FOLDER_PREFIX) and folder.parent in parents:
        shutil.rmtree(folder, ignore_errors=True)
    (home.root / TRACE).unlink()
    return [f"ended {count} processes that an earlier stack had left"] if count else []


def _clear_runs(home: Home) -> list[str]:
    """Remove bundles that a run began and did not register; logs stay. Nothing is touched while somebody trains."""
    try:
        with teaching(home):
            return _clear_unfinished(home)
    except LeaseHeld:
        return []


def _clear_unfinished(home: Home) -> list[str]:
    done = []
    for run in sorted(entry for entry in home.runs.iterdir() if entry.is_dir()):
        begun = [entry for entry in run.iterdir() if entry.is_dir()]
        for folder in begun:
            shutil.rmtree(folder)
        if not any(run.iterdir()):
            run.rmdir()
        if begun:
            done.append(f"removed what the unfinished run {run.name} had written")
    return done


def _replace_damaged_champion(registry: Registry) -> list[str]:
    champion = registry.aliases().champion
    if champion is None:
        return []
    try:
        registry.verify(champion)
    except BundleError as error:
        if registry.aliases().previous is None:
            raise BundleError(
                f"the champion {champion} is damaged ({error.message}) and there is no earlier version to go back to; "
                "restore it, or train again with hone train"
            ) from error
        aliases = registry.rollback(by="hone up", why=f"{champion} does not verify")
        return [f"{champion} is damaged ({error.message}), so {aliases.champion} serves again"]
    return []
