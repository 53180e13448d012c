"""Predictions that wait on disk for the store: bounded, one file per process, and whoever lives on takes over from the dead.

A file is a JSON line per prediction. Its process holds an exclusive lock on it while it may append; the kernel drops that lock
when the process dies, however it dies, and that is how another process knows that it may replay the file.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from io import FileIO
from pathlib import Path
from typing import IO
from uuid import uuid4

from filelock import FileLock
from pydantic import ValidationError

from core.home import write_atomically
from core.schemas import PredictionRecord

_SUFFIX = ".jsonl"
_LOCK_TIMEOUT_S = 2.0
_PART_BYTES = 1_048_576


@dataclass(frozen=True)
class SpoolExtent:
    """What waits: its size, how many predictions, and when the oldest of them was made."""

    size_bytes: int
    rows: int
    oldest_at: datetime | None


class Spool:
    """A folder of waiting predictions that holds ``max_bytes`` at most, all processes together.

    For one thread; others, and other processes, make their own over the same folder. Methods raise OSError where the folder
    cannot be written or read.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._file: FileIO | None = None

    def append(self, records: Sequence[PredictionRecord]) -> int:
        """Return how many of ``records``, from the first on, were written: all, or as many as the bound has room for."""
        lines = [record.model_dump_json().encode() + b"\n" for record in records]
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            room = self._max_bytes - self.size_bytes()
            taken = 0
            for line in lines:
                room -= len(line)
                if room < 0:
                    break
                taken += 1
            if taken:
                self._write(b"".join(lines[:taken]))
        return taken

    def size_bytes(self) -> int:
        """Return how much waits, all processes together."""
        return sum(_size_of(path) for path in self.waiting())

    def extent(self) -> SpoolExtent:
        """Return how much waits, all processes together, and since when."""
        size_bytes = rows = 0
        oldest: list[datetime] = []
        for path in self.waiting():
            with suppress(FileNotFoundError), path.open("rb") as file:
                first = _read(file.readline())
                if first is not None:
                    oldest.append(first.created_at)
                file.seek(0)
                for part in iter(partial(file.read, _PART_BYTES), b""):
                    size_bytes += len(part)
                    rows += part.count(b"\n")
        return SpoolExtent(size_bytes, rows, min(oldest, default=None))

    def release(self) -> None:
        """Stop appending to the own file, so that it can be replayed like any other."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def waiting(self) -> list[Path]:
        """Return the files there are; some may belong to living processes."""
        return sorted(self._folder.glob(f"*{_SUFFIX}"))

    @contextmanager
    def taken_over(self, path: Path) -> Iterator[IO[bytes] | None]:
        """Hand out ``path`` open for reading and locked, or None where a living process owns it or it is gone."""
        with self._alone():
            try:
                file = path.open("rb")
            except FileNotFoundError:
                file = None
            mine = file is not None and _lock(file)
        try:
            yield file if mine else None
        finally:
            if file is not None:
                file.close()

    def purge(self, drop: Callable[[PredictionRecord], bool]) -> tuple[int, int]:
        """Return how many waiting predictions were dropped, and how many files a living process owns, which were left alone.

        Lines that cannot be read go too: what a killed process left half-written may be half of what is to go.
        """
        gone = in_use = 0
        for path in self.waiting():
            with self.taken_over(path) as file:
                if file is None:
                    in_use += path.exists()
                    continue
                lines = file.read().splitlines(keepends=True)
                kept = [line for line in lines if (record := _read(line)) is not None and not drop(record)]
                if len(kept) < len(lines):
                    gone += len(lines) - len(kept)
                    write_atomically(path, b"".join(kept))
        return gone, in_use

    def _write(self, data: bytes) -> None:
        if self._file is None:
            path = self._folder / f"{os.getpid()}-{uuid4().hex}{_SUFFIX}"
            self._file = FileIO(path, "xb")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            # The file may now end in half a line; what comes later must not be glued to it.
            self.release()
            raise

    def _alone(self) -> FileLock:
        # Guards the sum of sizes, and a new file between its making and its locking.
        return FileLock(self._folder / "spool.lock", timeout=_LOCK_TIMEOUT_S)


def read_batches(file: IO[bytes], rows: int) -> Iterator[tuple[list[PredictionRecord], int]]:
    """Yield the file's predictions, ``rows`` at a time, each time with the count of lines that could not be read.

    A process killed in the middle of a line leaves half of one.
    """
    batch: list[PredictionRecord] = []
    broken = 0
    for line in file:
        try:
            batch.append(PredictionRecord.model_validate_json(line))
        except ValidationError:
            broken += 1
        if len(batch) >= rows:
            yield batch, broken
            batch, broken = [], 0
    if batch or broken:
        yield batch, broken


def _read(line: bytes) -> PredictionRecord | None:
    try:
        return PredictionRecord.model_validate_json(line)
    except ValidationError:
        return None


def _lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # Another process may have replayed the file and removed it in between.
    return os.fstat(file.fileno()).st_nlink > 0


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
