"""What an object store keeps of a registry, and the copy of it on a node.

::

    registry.json          aliases, versions, moves: one object, replaced only by who has seen the last one
    objects/ab/abcd…       manifests, decisions and files of bundles, each named by its SHA-256 and never changed
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from core.errors import BundleError
from core.home import write_atomically
from core.moves import Move
from core.registry import VERSION, Aliases

STATE = "registry.json"
MIRROR = "shared.json"
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, StringConstraints(pattern=f"^{VERSION.pattern}$")]


def key_of(digest: str) -> str:
    """Return the name of the object with this content.

    >>> key_of("ab" * 32)[:14]
    'objects/ab/aba'
    """
    return f"objects/{digest[:2]}/{digest}"


class Listed(BaseModel):
    """One version: where its manifest is, which names all else, and what the gate said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: Digest
    decision: Digest | None = None


class SharedState(BaseModel):
    """All that moves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    aliases: Aliases = Aliases()
    versions: dict[Version, Listed] = {}
    moves: list[Move] = []

    @classmethod
    def parse(cls, data: bytes) -> SharedState:
        """Return what ``data`` holds; of an object that is not there yet, nothing.

        Raises:
            BundleError: it was not written by Hone, or by a newer release.
        """
        if not data:
            return cls()
        try:
            return cls.model_validate_json(data)
        except ValueError as error:
            raise BundleError(
                f"{STATE} in the store of bundles cannot be read by this release; restore it, or upgrade"
            ) from error


class Seen(BaseModel):
    """A state as it was last seen, and its tag."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str
    state: SharedState


class Mirror:
    """The last state that this node has seen, for all its processes; what writes it must take turns.

    Beside it lie the files of a registry that knows no object store, so that a backup is the same, and nothing is lost when
    the store is given up.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / MIRROR
        self._read: tuple[tuple[int, int], Seen] | None = None

    def read(self) -> Seen | None:
        """Return what was seen last, by whichever process; None before the first time."""
        try:
            stat = os.stat(self._path)
            mark = (stat.st_mtime_ns, stat.st_ino)
            read = self._read
            if read is None or read[0] != mark:
                read = self._read = mark, Seen.model_validate_json(self._path.read_bytes())
            return read[1]
        except (FileNotFoundError, ValueError):
            # A damaged copy is as good as none: the store has the original.
            return None

    def write(self, seen: Seen) -> None:
        """Keep ``seen``."""
        # First: a folder with aliases and without it is one that knows no object store.
        write_atomically(self._path, seen.model_dump_json().encode())
        lines = (move.model_dump_json(exclude_defaults=True).encode() + b"\n" for move in seen.state.moves)
        write_atomically(self._root / "history.jsonl", b"".join(lines))
        write_atomically(self._root / "aliases.json", seen.state.aliases.model_dump_json(indent=1).encode())

    def stands_alone(self) -> bool:
        """Return whether the folder has a registry of its own, which no object store knows of."""
        return not self._path.exists() and (self._root / "aliases.json").exists()
