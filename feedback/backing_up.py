"""Copying all state into one archive, beside a running service.

What waits is copied first, then the store at one moment, then the files. So whatever the store speaks of is in the archive: a
row that leaves the spool meanwhile is there twice and is counted once, and versions and snapshots are never changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import Conflict
from core.home import Home
from core.registries import registry_of
from core.release import release
from core.schemas import now
from core.settings import Settings
from core.shared_state import MIRROR
from feedback.archive import ArchiveWriter, BackupManifest, TableDump, new_archive
from feedback.dumping import Dump
from feedback.store import Store

FILES = "files/"
TABLES = "store/"


@dataclass(frozen=True)
class BackupReport:
    """What a backup holds."""

    path: Path
    size_bytes: int
    manifest: BackupManifest


def back_up(store: Store, settings: Settings, path: Path, by: str) -> BackupReport:
    """Write registry, store, base data, snapshots, keys and what waits into ``path``; an entry of the trail says who did.

    Caches, logs, counters and checkpoints are left out: they can be made again, or nobody needs them.

    Raises:
        Conflict: ``path`` exists, or files were erased while they were copied; asking again helps.
        StoreUnavailable: the store does not answer.
    """
    home = settings.home
    with new_archive(path) as archive:
        for waiting in (*sorted(home.spool.glob("*.jsonl")), home.trail_pending):
            _add_if_there(archive, home, waiting)
        # Who copies everything that people said has to stand in the trail, and in the copy's as well.
        store.record(by, "backup", path.name)
        with store.dump() as dump:
            tables = {table.name: _add_table(archive, dump, table.name) for table in dump.tables}
            schema, sequences, trail = dump.schema, dump.sequences(), dump.trail()
        registry = registry_of(settings)
        with registry.held():
            champion = registry.aliases().champion
            # Where several nodes share it, this one may not have had use for all of them.
            registry.decisions()
            for file in _small_files(home):
                _add_if_there(archive, home, file)
        for version in registry.versions():
            folder = registry.path(version)
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                archive.add_file(f"{FILES}registry/versions/{version}/{file.relative_to(folder)}", file)
        for file in _immutable_files(home):
            _add(archive, home, file)
        manifest = BackupManifest(
            created_at=now(),
            release=release(),
            store_schema=schema,
            champion=champion,
            tables=tables,
            sequences=sequences,
            trail=trail,
            members=archive.members,
        )
        archive.finish(manifest)
    return BackupReport(path, path.stat().st_size, manifest)


def _add_table(archive: ArchiveWriter, dump: Dump, name: str) -> TableDump:
    table = next(table for table in dump.tables if table.name == name)
    total = 0
    for number, (lines, rows) in enumerate(dump.parts(table)):
        archive.add_bytes(f"{TABLES}{name}/{number:06}.jsonl", lines)
        total += rows
    return TableDump(columns=list(table.columns.keys()), rows=total)


def _small_files(home: Home) -> Iterator[Path]:
    """Yield what is replaced or appended to, registry first."""
    files = (path for path in home.registry.iterdir() if path.suffix in (".json", ".jsonl") and path.name != MIRROR)
    yield from sorted(files)
    yield from sorted((home.registry / "decisions").glob("*.json"))
    yield from (home.keys, home.subjects, home.erasures)


def _immutable_files(home: Home) -> Iterator[Path]:
    """Yield what is never changed, though erasing a person's data may replace it."""
    for folder in (home.datasets, home.snapshots):
        yield from sorted(path for path in folder.iterdir() if path.suffix in (".json", ".parquet"))


def _add(archive: ArchiveWriter, home: Home, path: Path) -> None:
    try:
        archive.add_file(f"{FILES}{path.relative_to(home.root)}", path)
    except FileNotFoundError as error:
        raise Conflict("something was erased while it was being copied; start the backup again") from error


def _add_if_there(archive: ArchiveWriter, home: Home, path: Path) -> None:
    if path.exists():
        _add(archive, home, path)
