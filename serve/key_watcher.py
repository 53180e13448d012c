"""The API keys as a replica holds them: in memory, and never older than the file by more than a second."""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from pathlib import Path

from core.errors import KeysDamaged
from core.keys import KeySet, read_keys
from serve.following import follow

POLL_S = 0.4

_logger = logging.getLogger("hone.serve")


class KeyWatcher:
    """Keeps :attr:`keys` equal to the file at ``path``, which is looked at off the request path.

    Without the file nobody has a key. A file that cannot be read leaves the keys as they were: those revoked before it was
    damaged stay revoked, and those who have a key are not shut out by a full disk.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self.keys = KeySet({})
        self.look()

    def look(self) -> None:
        """Read the file again if it has changed."""
        # Before it is read: a change between the two is then seen at the next look.
        mark = _mark(self._path)
        if mark == self._seen:
            return
        try:
            self.keys = read_keys(self._path)
        except KeysDamaged as error:
            _logger.error("the API keys stay as they were: %s", error.message)  # noqa: TRY400 - the reason says it all
        else:
            _logger.info("API keys read", extra={"keys": len(self.keys.by_id)})
        self._seen = mark

    async def run(self) -> None:
        """Follow the file until cancelled."""
        await follow(partial(asyncio.to_thread, self.look), partial(asyncio.sleep, POLL_S), "following the API keys failed")


def _mark(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ()
    except OSError:
        # Reading it will say what is wrong.
        return (-1,)
    # The file is replaced, so its inode changes too; the time alone can stand still for some milliseconds.
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
