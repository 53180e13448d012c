"""The layout of the one folder that holds all state."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core.errors import HomeUnusable


@dataclass(frozen=True)
class Home:
    """Names of the files and folders under ``HONE_HOME``; only :meth:`prepare` touches the disk."""

    root: Path

    @property
    def registry(self) -> Path:
        """Versions, aliases and gate decisions."""
        return self.root / "registry"

    @property
    def store(self) -> Path:
        """The embedded feedback store."""
        return self.root / "feedback.db"

    @property
    def spool(self) -> Path:
        """Predictions that wait for the store to come back."""
        return self.root / "spool"

    @property
    def datasets(self) -> Path:
        """Base data sets, by hash."""
        return self.root / "datasets"

    @property
    def snapshots(self) -> Path:
        """What each run saw, by hash."""
        return self.root / "snapshots"

    @property
    def runs(self) -> Path:
        """One folder per run: its log and, until it is registered, its bundle."""
        return self.root / "runs"

    @property
    def cache(self) -> Path:
        """What can be computed again: embeddings."""
        return self.root / "cache"

    @property
    def checkpoints(self) -> Path:
        """From where runs that were stopped go on."""
        return self.root / "checkpoints"

    @property
    def metrics(self) -> Path:
        """Counters of the processes of the running stack."""
        return self.root / "metrics"

    @property
    def logs(self) -> Path:
        """Logs of the stack's processes."""
        return self.root / "logs"

    @property
    def keys(self) -> Path:
        """The API keys, hashed."""
        return self.root / "keys.json"

    @property
    def subjects(self) -> Path:
        """The secret that hides, in the store, whom a text is about."""
        return self.root / "subjects.key"

    @property
    def erasures(self) -> Path:
        """What was erased, so that an old backup does not bring it back."""
        return self.root / "erasures.jsonl"

    @property
    def trail_pending(self) -> Path:
        """Entries of the audit trail that wait for the store to come back."""
        return self.root / "trail-pending.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the running stack."""
        return self.root / "stack.lock"

    @property
    def _folders(self) -> tuple[Path, ...]:
        state = (self.registry, self.spool, self.datasets, self.snapshots, self.runs)
        return (*state, self.cache, self.checkpoints, self.logs, self.metrics)

    def prepare(self) -> None:
        """Create the folders.

        Raises:
            HomeUnusable: when the folder cannot be created or written.
        """
        try:
            for folder in self._folders:
                folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise HomeUnusable(
                f"the state folder {self.root} cannot be written ({error.strerror or error}); "
                "set HONE_HOME to a folder you may write",
                path=str(self.root),
            ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: a reader sees the old bytes or the new ones, also after a power cut."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def append_line(path: Path, value: object) -> None:
    """Add ``value`` as a line of JSON, on disk when this returns; writers must take turns."""
    line = json.dumps(value, ensure_ascii=False).encode() + b"\n"
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            # After a line that a crash cut short, this one must not become part of it.
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
