"""The values of many processes as one: each keeps its own in files of a shared folder, and the files of the dead become one.

A process holds a lock on its ``.alive`` file; the kernel drops it when the process dies, however it dies, and that is how the
others know. Counters and histograms of the dead are then added to ``ended-N``, so that sums never fall and files stay few;
their gauges say nothing any more and go. A new ``ended-N`` comes into being by one rename and names whom it has taken in:
whoever is killed on the way leaves either the old state or the new one, and nobody is counted twice.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from filelock import FileLock, Timeout
from prometheus_client import values
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from core.errors import Unavailable
from core.metric_cells import CellFolder

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_ALIVE = ".alive"
_ENDED = "ended-"
_TAKEN_IN = "taken_in.json"
_SUMMED = ("counter", "histogram")
_LOCK_TIMEOUT_S = 5.0
# What reading a file can raise that its process had only begun, or was killed over.
_DAMAGED = (struct.error, RuntimeError, ValueError)

_logger = logging.getLogger("hone.metrics")


def join_shared_folder() -> None:
    """Have the metrics made from here on live in files under ``PROMETHEUS_MULTIPROC_DIR``, where that is set.

    prometheus_client names the files after the process's number, which another process, or one in another container, may have
    too; here each has a name of its own. Gauges are the library's, which notes when each was set.
    """
    if os.environ.get(VARIABLE) and not isinstance(_IDENTITY.current, str):
        _IDENTITY()
        gauge: Any = values.MultiProcessValue(process_identifier=_IDENTITY)  # type: ignore[no-untyped-call] # untyped there
        cells = CellFolder(lambda: Path(os.environ[VARIABLE]), _IDENTITY)

        def value(kind: str, *named: Any, **options: Any) -> Any:
            if kind not in _SUMMED:
                return gauge(kind, *named, **options)
            metric, name, labels, label_values, meaning = named
            return cells.make(kind, metric, name, (labels, label_values), meaning)

        values.ValueClass = value


def read_families(folder: Path) -> list[Family]:
    """Return the metrics of all processes that share ``folder``; gauges of living ones only.

    Raises:
        Unavailable: another process keeps the folder locked.
    """
    with files_of(folder) as files:
        return merge_files(files)


@contextmanager
def files_of(folder: Path) -> Iterator[list[Path]]:
    """Give the files of the living processes of ``folder`` and of the sums of ended ones; nobody changes them meanwhile.

    Raises:
        Unavailable: another process keeps the folder locked.
    """
    with _alone(folder):
        _take_in_the_dead(folder)
        ended = _newest(folder)
        yield [*folder.glob("*.db"), *(ended.glob("*.db") if ended else ())]


def merge_files(files: list[Path]) -> list[Family]:
    """Return the metrics in all ``files``; what is damaged is left out."""
    try:
        return _merge(files)
    except _DAMAGED:
        # One that its process is just making, most likely.
        return _merge([path for path in files if _is_readable(path)])


class _Identity:
    """Names this process, and a child that is forked from it by another name."""

    def __init__(self) -> None:
        self.current: str | None = None
        self._pid = 0
        self._alive: IO[bytes] | None = None

    def __call__(self) -> str:
        if self._pid != os.getpid() or self.current is None:
            folder = Path(os.environ[VARIABLE])
            folder.mkdir(parents=True, exist_ok=True)
            self.current = uuid4().hex
            with _alone(folder):
                _take_in_the_dead(folder)
                self._alive = (folder / f"{self.current}{_ALIVE}").open("xb")
                fcntl.flock(self._alive, fcntl.LOCK_EX)
            self._pid = os.getpid()
        return self.current


_IDENTITY = _Identity()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / "metrics.lock", timeout=_LOCK_TIMEOUT_S)
    try:
        lock.acquire()
    except Timeout:
        raise Unavailable("another process keeps the metrics locked; ask again") from None
    try:
        yield
    finally:
        lock.release()


def _take_in_the_dead(folder: Path) -> None:
    """Add the sums of processes that have died to ``ended-N``, and remove what they left."""
    ended = _newest(folder)
    if ended is not None:
        # Whoever made it may have been killed before it had cleared away.
        _clear(folder, json.loads((ended / _TAKEN_IN).read_bytes()), keep=ended)
    dead = sorted(name for name in _names(folder) if not _is_alive(folder, name))
    if not dead:
        return
    begun = folder / f".{uuid4().hex}"
    begun.mkdir()
    for kind in _SUMMED:
        files = [folder / f"{kind}_{name}.db" for name in dead]
        _write_sums([*files, *([ended / f"{kind}_ended.db"] if ended else [])], begun / f"{kind}_ended.db")
    (begun / _TAKEN_IN).write_text(json.dumps(dead))
    made = folder / f"{_ENDED}{_number(ended) + 1}"
    begun.rename(made)
    _clear(folder, dead, keep=made)


def _clear(folder: Path, dead: Iterable[str], *, keep: Path) -> None:
    for name in dead:
        for path in folder.glob(f"*_{name}.db"):
            path.unlink(missing_ok=True)
        # The last to go: as long as it is there, somebody has the rest to look for.
        (folder / f"{name}{_ALIVE}").unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and path != keep:
            shutil.rmtree(path, ignore_errors=True)


def _write_sums(files: Iterable[Path], target: Path) -> None:
    sums: dict[str, float] = defaultdict(float)
    for path in files:
        try:
            found = {key: value for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path))}  # type: ignore[no-untyped-call] # untyped there
        except FileNotFoundError:
            continue
        except _DAMAGED:
            _logger.warning("the metrics of an ended process cannot be read", extra={"file": path.name})
            continue
        for key, value in found.items():
            sums[key] += value
    written = MmapedDict(str(target))  # type: ignore[no-untyped-call] # untyped there
    for key, value in sums.items():
        written.write_value(key, value, 0.0)  # type: ignore[no-untyped-call] # untyped there
    written.close()  # type: ignore[no-untyped-call] # untyped there


def _merge(files: Iterable[Path]) -> list[Family]:
    return list(MultiProcessCollector.merge([str(path) for path in files]))  # type: ignore[no-untyped-call] # untyped there


def _is_readable(path: Path) -> bool:
    try:
        list(MmapedDict.read_all_values_from_file(str(path)))  # type: ignore[no-untyped-call] # untyped there
    except _DAMAGED:
        return False
    return True


def _names(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob(f"*{_ALIVE}")} | {path.stem.rpartition("_")[2] for path in folder.glob("*.db")}


def _is_alive(folder: Path, name: str) -> bool:
    try:
        with (folder / f"{name}{_ALIVE}").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _newest(folder: Path) -> Path | None:
    return max(folder.glob(f"{_ENDED}*"), key=_number, default=None)


def _number(path: Path | None) -> int:
    return int(path.name.removeprefix(_ENDED)) if path else 0
