"""A small disk of a test's own, which can be full or refuse writing as a real one would."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


class Disk:
    """A file system in memory, mounted at ``folder``."""

    def __init__(self, folder: Path, size: str) -> None:
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "hone-test", str(folder)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("only root, and not in every container, may mount a file system to fill it")

    def fill(self) -> None:
        """Take all the room that is left."""
        with (self.folder / "filler").open("ab", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(b"x" * 4_096)

    def make_room(self) -> None:
        """Give it back."""
        (self.folder / "filler").unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Refuse writing; nothing may be open for it."""
        self._mount("remount,ro")
        try:
            yield
        finally:
            self._mount("remount,rw")

    def unmount(self) -> None:
        """Take it away, whoever still has files open on it."""
        subprocess.run(["umount", "-l", str(self.folder)], check=False)

    def _mount(self, options: str) -> None:
        subprocess.run(["mount", "-o", options, str(self.folder)], check=True)
