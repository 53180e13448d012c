"""A file that many processes append lines to, and that never grows beyond a bound."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK_TIMEOUT_S = 1.0


class BoundedFile:
    """Appends to ``path``; a file of ``max_bytes`` is put aside as ``path.1``, of which ``kept`` are kept. Not for threads."""

    def __init__(self, path: Path, max_bytes: int, kept: int = 3) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._handle: int | None = None

    def append(self, lines: bytes) -> None:
        """Add whole lines, in one piece: no other process's come between them.

        Raises:
            OSError: the file cannot be written.
        """
        handle = self._open()
        os.write(handle, lines)
        if os.fstat(handle).st_size >= self._max_bytes:
            self._put_aside(handle)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self) -> int:
        if self._handle is not None and not self._is_current(self._handle):
            # Another process has put it aside.
            self.close()
        if self._handle is None:
            self._handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        return self._handle

    def _is_current(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(handle))
        except FileNotFoundError:
            return False

    def _put_aside(self, handle: int) -> None:
        # Whoever comes late finds a new file there, and leaves it alone. In doubt the next writer sees to it.
        with suppress(Timeout), FileLock(f"{self.path}.lock", timeout=_LOCK_TIMEOUT_S):
            if not self._is_current(handle):
                return
            for number in range(self._kept, 0, -1):
                older = self.path if number == 1 else self._aside(number - 1)
                with suppress(FileNotFoundError):
                    older.replace(self._aside(number))

    def _aside(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
