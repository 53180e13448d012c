"""Rows on disk under the hash of a text, in files that are written once: segments.

Whoever computes new rows writes a segment of their own and renames it into place, so writers need not know of each other, and
one that is killed leaves nothing that others read. A reader maps the rows and looks up its keys, which stand in order. Every
row has a checksum, so that a damaged one is not found. Segments are merged when there are many: a row is written again about as
often as the number of rows has doubled since.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

FloatMatrix = NDArray[np.float32]
IntVector = NDArray[np.int64]
Keys = NDArray[np.uint64]

_HEADER = struct.Struct("<8sQII")
_MAGIC = b"HONEROW1"
_SUFFIX = ".rows"
_MOST_SEGMENTS = 8
_BLOCK_ROWS = 8_192
# A writer is done long before; what is older was left by one that was killed.
_ABANDONED_S = 3_600.0


def keys_of(texts: Sequence[str]) -> Keys:
    """Return the first 128 bits of each text's SHA-256, as (n, 2)."""
    digests = b"".join(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16] for text in texts)
    return np.frombuffer(digests, dtype="<u8").reshape(len(texts), 2)


@dataclass(frozen=True)
class Segment:
    """One file, mapped: ``keys`` (n, 2) in order, ``sums`` (n,) and ``rows`` (n, h)."""

    path: Path
    keys: Keys
    sums: NDArray[np.uint32]
    rows: FloatMatrix

    @classmethod
    def read(cls, path: Path, width: int) -> Segment | None:
        """Return the segment; None when it is damaged, gone, or holds rows of another width."""
        try:
            with path.open("rb") as file:
                magic, count, found, check = _HEADER.unpack(file.read(_HEADER.size))
                if magic != _MAGIC or found != width or os.fstat(file.fileno()).st_size != _size(count, width):
                    return None
                index = file.read(20 * count)
                if zlib.crc32(index) != check:
                    return None
                keys = np.frombuffer(index, dtype="<u8", count=2 * count).reshape(count, 2)
                sums = np.frombuffer(index, dtype="<u4", offset=16 * count)
                if not count:
                    return cls(path, keys, sums, np.empty((0, width), np.float32))
                rows = np.memmap(file, dtype="<f4", mode="r", offset=_HEADER.size + len(index), shape=(count, width))
        except (OSError, ValueError, struct.error):
            return None
        return cls(path, keys, sums, rows)

    def find(self, wanted: Keys) -> IntVector:
        """Return the place of each wanted key (q, 2), -1 where it is not here."""
        if not len(self.keys):
            return np.full(len(wanted), -1)
        place = np.minimum(np.searchsorted(self.keys[:, 0], wanted[:, 0]), len(self.keys) - 1)
        # Of two keys that agree in their first half, once in 10^19 pairs, only the first is found; the other is computed again.
        return np.where((self.keys[place] == wanted).all(axis=1), place, -1)

    def take(self, places: IntVector) -> tuple[FloatMatrix, NDArray[np.bool_]]:
        """Return the rows at ``places`` and whether each is as it was written."""
        rows = np.asarray(self.rows[places])
        return rows, _sums(self.keys[places], rows) == self.sums[places]


class Segments:
    """All segments in ``folder`` whose names begin with ``name``, with rows of ``width`` numbers."""

    def __init__(self, folder: Path, name: str, width: int) -> None:
        self._folder, self._name, self._width = folder, name, width

    def fill(self, keys: Keys, out: FloatMatrix) -> NDArray[np.bool_]:
        """Write the row of each key (n, 2) into ``out`` (n, h), and return which were found."""
        found = np.zeros(len(keys), dtype=bool)
        for segment in self._read():
            if found.all():
                break
            missing = np.flatnonzero(~found)
            places = segment.find(keys[missing])
            here = np.flatnonzero(places >= 0)
            for first in range(0, len(here), _BLOCK_ROWS):
                part = here[first : first + _BLOCK_ROWS]
                rows, sound = segment.take(places[part])
                out[missing[part[sound]]] = rows[sound]
                found[missing[part[sound]]] = True
        return found

    def add(self, keys: Keys, rows: FloatMatrix) -> None:
        """Keep rows (n, h) under keys (n, 2). What cannot be written, on a full disk say, is not kept."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            order = _in_order(keys)
            self._write(keys[order], (rows[part] for part in _blocks(order)))
            self._merge()

    def _paths(self) -> list[Path]:
        return list(self._folder.glob(f"{self._name}.*{_SUFFIX}")) if self._folder.is_dir() else []

    def _read(self) -> list[Segment]:
        """Return the sound segments, the newest first: where a row was damaged, the one computed since counts."""
        paths = sorted(self._paths(), key=lambda path: path.name, reverse=True)
        return [segment for path in paths if (segment := Segment.read(path, self._width)) is not None]

    def _write(self, keys: Keys, blocks: Iterable[FloatMatrix]) -> None:
        """Write a segment of ``keys`` (n, 2), which are in order, and their rows, block by block."""
        # By the time, so that the newest is known; the rest of the name is mkstemp's.
        handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=f"{self._name}.{time.time_ns():020d}.", suffix=".new")
        try:
            with os.fdopen(handle, "wb") as file:
                file.seek(_HEADER.size + 20 * len(keys))
                sums = np.empty(len(keys), dtype="<u4")
                done = 0
                for rows in blocks:
                    part = slice(done, done + len(rows))
                    sums[part] = _sums(keys[part], rows)
                    file.write(np.ascontiguousarray(rows, dtype="<f4").data)
                    done += len(rows)
                index = keys.astype("<u8").tobytes() + sums.tobytes()
                file.seek(0)
                file.write(_HEADER.pack(_MAGIC, len(keys), self._width, zlib.crc32(index)) + index)
            os.rename(temporary, temporary.removesuffix(".new") + _SUFFIX)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _merge(self) -> None:
        """Merge segments where there are many, unless somebody is at it; remove what is damaged or was abandoned."""
        if len(self._paths()) <= _MOST_SEGMENTS:
            return
        with contextlib.suppress(Timeout), FileLock(self._folder / ".merging", timeout=0):
            for path in self._folder.glob(f"{self._name}.*.new"):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink(missing_ok=True)
            before = self._paths()
            sound = self._read()
            for path in set(before) - {segment.path for segment in sound}:
                path.unlink(missing_ok=True)
            together = [sound[place] for place in _to_merge([len(segment.keys) for segment in sound])]
            if len(together) > 1:
                self._write_together(together)
                for segment in together:
                    segment.path.unlink(missing_ok=True)

    def _write_together(self, segments: list[Segment]) -> None:
        """Write one segment with the sound rows of several, of which those that come first count where a key is in two."""
        keys = np.concatenate([segment.keys for segment in segments])
        source = np.concatenate([np.full(len(segment.keys), number) for number, segment in enumerate(segments)])
        place = np.concatenate([np.arange(len(segment.keys)) for segment in segments])
        sound = np.concatenate([_sound(segment) for segment in segments])
        keys, source, place = keys[sound], source[sound], place[sound]
        order = _in_order(keys)
        first = np.ones(len(order), dtype=bool)
        first[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
        order = order[first]

        def blocks() -> Iterator[FloatMatrix]:
            for part in _blocks(order):
                rows = np.empty((len(part), self._width), np.float32)
                for number, segment in enumerate(segments):
                    mine = source[part] == number
                    rows[mine] = segment.rows[place[part[mine]]]
                yield rows

        self._write(keys[order], blocks())


def _size(count: int, width: int) -> int:
    return _HEADER.size + count * (20 + 4 * width)


def _in_order(keys: Keys) -> IntVector:
    """Return places by key; of equal keys the one that came first stays first."""
    return np.lexsort((keys[:, 1], keys[:, 0]))


def _blocks(places: IntVector) -> Iterator[IntVector]:
    for first in range(0, len(places), _BLOCK_ROWS):
        yield places[first : first + _BLOCK_ROWS]


def _sums(keys: Keys, rows: FloatMatrix) -> NDArray[np.uint32]:
    """Return a checksum of each row (n, h) and its key (n, 2): a weighted sum of their bits, which any changed bit changes."""
    # Odd weights, since an even one would let the highest bit change unseen.
    weights = 2 * np.arange(1, rows.shape[1] + 1, dtype=np.uint32) + np.uint32(0x9E3779B1)
    bits = np.ascontiguousarray(rows, dtype="<f4").view("<u4")
    total = np.einsum("ij,j->i", bits, weights, dtype=np.uint32)
    return np.asarray(total + keys.astype("<u8").view("<u4").reshape(len(keys), 4).sum(axis=1, dtype=np.uint32))


def _sound(segment: Segment) -> NDArray[np.bool_]:
    return np.concatenate([np.empty(0, bool), *(segment.take(part)[1] for part in _blocks(np.arange(len(segment.keys))))])


def _to_merge(sizes: Sequence[int]) -> list[int]:
    """Return which segments to merge, newest first as they came: the largest that the smaller ones together have reached, and
    all of those.

    >>> _to_merge([1, 1, 1, 100])
    [0, 1, 2]
    >>> _to_merge([50, 50, 1, 100])
    [0, 1, 2, 3]
    """
    by_size = sorted(range(len(sizes)), key=lambda place: sizes[place], reverse=True)
    smaller = sum(sizes)
    for number, place in enumerate(by_size):
        smaller -= sizes[place]
        if smaller >= sizes[place]:
            return sorted(by_size[number:])
    return sorted(by_size[1:])
