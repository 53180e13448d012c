"""Where a process's counters and histograms live: doubles in files that are mapped into its memory.

prometheus_client has such values as well, and reads these files: the format is that of its ``mmap_dict``. But it packs and
writes a number and its time of day, and asks whether the process was forked, at each addition; a request makes a dozen.
Here an addition is one to a double in place, so that it costs a tenth, and is in the file with the addition itself.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from prometheus_client.mmap_dict import mmap_key

Doubles: TypeAlias = "memoryview[float]"
"""A file as 8-byte floats."""

_USED = struct.Struct("i")
_HEAD_BYTES = 8
_FIRST_BYTES = 1 << 16
# What a cell has in a child that was just forked, which must not add to its parent's.
_NOWHERE = memoryview(b"").cast("d")


class CellFile:
    """One file of doubles by key; nobody else may write to it."""

    def __init__(self, path: Path) -> None:
        with path.open("xb") as file:
            file.truncate(_FIRST_BYTES)
        self._path = path
        self._map = _mapped(path)
        self._used = _HEAD_BYTES
        self._places: dict[str, int] = {}
        self._tell_used()

    def cell(self, key: str) -> tuple[Doubles, int]:
        """Return the doubles of the file and at which place of them ``key`` has its own."""
        if key not in self._places:
            self._append(key)
        # Doubles of an earlier size show the same file, so whoever has them may keep them.
        return memoryview(self._map).cast("d"), self._places[key]

    def _append(self, key: str) -> None:
        encoded = key.encode()
        padded = encoded + b" " * (8 - (len(encoded) + 4) % 8)
        entry = struct.pack(f"i{len(padded)}sdd", len(encoded), padded, 0.0, 0.0)
        size = len(self._map)
        if self._used + len(entry) > size:
            os.truncate(self._path, 2 * size)
            self._map = _mapped(self._path)
        self._map[self._used : self._used + len(entry)] = entry
        self._used += len(entry)
        self._places[key] = (self._used - 16) // 8
        # The last to be written: who reads meanwhile sees the entry whole or not at all.
        self._tell_used()

    def _tell_used(self) -> None:
        self._map[: _USED.size] = _USED.pack(self._used)


class Cell:
    """One number of this process, in the way prometheus_client has them (its ``ValueClass``)."""

    def __init__(self, folder: CellFolder, kind: str, key: str) -> None:
        self._folder, self._kind, self._key = folder, kind, key
        self._lock, self._doubles, self._place = folder.lock, _NOWHERE, 0
        self.get()

    def inc(self, amount: float) -> None:
        """Add ``amount``."""
        with self._lock:
            try:
                self._doubles[self._place] += amount
            except IndexError:
                self._join()
                self._doubles[self._place] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002 - the library's signature
        """Be ``value``."""
        self.get()
        with self._lock:
            self._doubles[self._place] = value

    def get(self) -> float:
        """Return the number."""
        with self._lock:
            if not len(self._doubles):
                self._join()
            return float(self._doubles[self._place])

    def set_exemplar(self, exemplar: object) -> None:
        """Keep none: these files have no place for them."""

    def get_exemplar(self) -> None:
        """Return None."""

    def leave(self) -> None:
        """Have the next use find a place in this process's own file."""
        self._lock, self._doubles = self._folder.lock, _NOWHERE

    def _join(self) -> None:
        self._doubles, self._place = self._folder.file(self._kind).cell(self._key)


class CellFolder:
    """The cells of this process in ``folder``, whose files are named after ``process()``; a forked child gets its own."""

    def __init__(self, folder: Callable[[], Path], process: Callable[[], str]) -> None:
        self.lock = Lock()
        self._folder, self._process = folder, process
        self._files: dict[str, CellFile] = {}
        self._cells: list[Cell] = []
        os.register_at_fork(after_in_child=self._begin_anew)

    def make(self, kind: str, metric: str, name: str, labels: tuple[list[str], list[str]], meaning: str) -> Cell:
        """Return the cell of one sample of a metric."""
        cell = Cell(self, kind, mmap_key(metric, name, *labels, meaning))
        self._cells.append(cell)
        return cell

    def file(self, kind: str) -> CellFile:
        """Return the file of one kind of metric; whoever calls holds the lock."""
        if kind not in self._files:
            self._files[kind] = CellFile(self._folder() / f"{kind}_{self._process()}.db")
        return self._files[kind]

    def _begin_anew(self) -> None:
        # The parent's other threads, one of which may have held it, are not here.
        self.lock = Lock()
        self._files = {}
        for cell in self._cells:
            cell.leave()


def _mapped(path: Path) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)
