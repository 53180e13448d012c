"""Bringing all state back from an archive: everything is checked, then made beside what is there, then put in its place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from core.errors import BackupDamaged, Conflict, NotFound, TrailBroken
from core.home import Home, append_line, sync_folder
from core.registries import publish, registry_of
from core.schemas import now
from core.settings import Settings
from core.subjects import Subjects
from feedback.archive import BackupManifest, read_manifest, read_members
from feedback.backing_up import FILES, TABLES
from feedback.erasing import erase_again
from feedback.erasures import Target
from feedback.store import Store
from feedback.tables import SCHEMA

_STAGED = ".restoring"
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class RestoreReport:
    """What was brought back; ``replaced`` is where what was there before lies now, None where there was nothing.

    ``trail_whole`` is false where the audit trail was broken already when the backup was made.
    """

    manifest: BackupManifest
    replaced: Path | None
    erased_again: int
    trail_whole: bool


def restore(settings: Settings, path: Path, by: str, *, overwrite: bool = False) -> RestoreReport:
    """Make state folder and store what they were at the backup; the caller sees to it that nobody is at work on them.

    What was there before is moved aside, not removed, except in PostgreSQL, whose tables are replaced in one transaction. What
    was erased after the backup was made is erased again, as far as ``erasures.jsonl`` of this folder tells.

    Raises:
        BackupDamaged: the archive is not whole, or of a newer release; nothing was touched.
        Conflict: there is something already and ``overwrite`` is not set, or replicas are at work on the store.
        StoreUnavailable: the store cannot be read or written; it is as it was.
    """
    home = settings.home
    manifest = read_manifest(path)
    if manifest.store_schema > SCHEMA:
        raise BackupDamaged(
            f"the backup has schema {manifest.store_schema}, and this release reads up to {SCHEMA}; restore it with release "
            f"{manifest.release}, or a newer one"
        )
    _check_free(settings, overwrite=overwrite)
    staged = home.root / _STAGED
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        _unpack(path, staged)
        _fill_store(settings, manifest, path)
        replaced = _put_in_place(home, staged, settings)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    store = Store.of(settings)
    try:
        erased = _erase_again(store, settings, by)
        store.record(by, "restore", path.name, {"created_at": manifest.created_at.isoformat()})
        whole = _is_whole(store, manifest)
    finally:
        store.close()
    return RestoreReport(manifest, replaced, erased, whole)


def _is_whole(store: Store, manifest: BackupManifest) -> bool:
    try:
        store.verify_trail(manifest.trail.last_hash)
    except TrailBroken:
        return False
    return True


def _check_free(settings: Settings, *, overwrite: bool) -> None:
    database = _sqlite_file(settings)
    if not overwrite:
        home = settings.home
        taken = [name for name in ("keys.json", "subjects.key") if (home.root / name).exists()]
        taken += ["versions"] if registry_of(settings).versions() else []
        taken += [folder.name for folder in (home.datasets, home.snapshots) if any(folder.iterdir())]
        taken += ["feedback"] if _holds_anything(settings) else []
        if taken:
            raise Conflict(
                f"{home.root} and its store hold something already ({', '.join(taken)}); pass --overwrite to replace it"
            )
    elif settings.bundles_url and registry_of(settings).versions():
        raise Conflict("HONE_BUNDLES_URL names a store that has versions; restore into an empty prefix")
    elif database is None and _living(settings):
        raise Conflict("replicas are at work on this store, or were half a minute ago; stop them first")


def _holds_anything(settings: Settings) -> bool:
    database = _sqlite_file(settings)
    if database is not None and not database.exists():
        return False
    store = Store(settings.sqlalchemy_url)
    try:
        return store.holds_anything()
    finally:
        store.close()


def _living(settings: Settings) -> bool:
    store = Store(settings.sqlalchemy_url)
    try:
        return store.holds_anything() and bool(store.replicas())
    finally:
        store.close()


def _unpack(path: Path, staged: Path) -> None:
    for name, file in read_members(path):
        if not name.startswith(FILES):
            continue
        place = staged / name.removeprefix(FILES)
        place.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
            while piece := file.read(_PIECE_BYTES):
                copy.write(piece)
            copy.flush()
            os.fsync(copy.fileno())
        if place.suffix == ".parquet":
            place.chmod(0o444)
    for folder, _, _ in os.walk(staged):
        sync_folder(Path(folder))


def _fill_store(settings: Settings, manifest: BackupManifest, path: Path) -> None:
    """Fill PostgreSQL, or a file beside SQLite's that :func:`_put_in_place` moves; the trail has to end as it did."""
    database = _sqlite_file(settings)
    url = settings.sqlalchemy_url
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        _remove(_beside(database))
        url = f"sqlite:///{_beside(database)}"
    store = Store(url)
    try:
        store.fill(manifest, _parts(path))
    finally:
        store.close()


def _parts(path: Path) -> Iterator[tuple[str, bytes]]:
    for name, file in read_members(path):
        if name.startswith(TABLES):
            yield name.removeprefix(TABLES).partition("/")[0], file.read()


def _put_in_place(home: Home, staged: Path, settings: Settings) -> Path | None:
    aside = home.root / f"replaced-{now():%Y%m%dT%H%M%S%f}"
    # Kept out of what goes aside: what was erased from this machine has to stay erased, whichever backup comes back.
    erased = home.erasures.read_bytes().splitlines() if home.erasures.exists() else []
    owned = [home.registry, home.datasets, home.snapshots, home.spool, home.keys, home.subjects, home.erasures]
    owned += [home.trail_pending, home.cache / "embeddings", home.cache / "out-of-fold", home.checkpoints]
    moved = [path for path in owned if _holds(path)]
    for path in moved:
        aside.mkdir(exist_ok=True)
        os.rename(path, aside / path.name)
    database = _sqlite_file(settings)
    if database is not None:
        for suffix in ("", "-wal", "-shm"):
            old = Path(f"{database}{suffix}")
            if old.exists():
                aside.mkdir(exist_ok=True)
                shutil.move(old, aside / old.name)
                moved.append(old)
        os.rename(_beside(database), database)
        _remove(_beside(database))
        sync_folder(database.parent)
    for path in sorted(staged.iterdir()):
        place = home.root / path.name
        # What is here still is empty.
        shutil.rmtree(place, ignore_errors=True)
        os.rename(path, place)
    home.prepare()
    if settings.bundles_url:
        publish(settings)
    known = set(home.erasures.read_bytes().splitlines()) if home.erasures.exists() else set()
    for line in erased:
        if line not in known:
            append_line(home.erasures, json.loads(line))
    sync_folder(home.root)
    return aside if moved else None


def _erase_again(store: Store, settings: Settings, by: str) -> int:
    home = settings.home
    if not home.erasures.exists():
        return 0
    count = 0
    for line in home.erasures.read_bytes().splitlines():
        try:
            said = json.loads(line)
            store.erasure(said["erasure_id"])
        except NotFound:
            subject = said["subject"]
            # Of another store's people nothing can be here.
            if subject is None or subject.startswith(f"{Subjects(home.subjects).fingerprint}."):
                erase_again(store, settings, Target(subject, tuple(said["text_keys"])), by)
                count += 1
        except ValueError:
            # Cut short by a crash, before the erasure was told to be done.
            continue
    return count


def _holds(path: Path) -> bool:
    files = path.rglob("*") if path.is_dir() else [path]
    return any(file.is_file() and file.suffix != ".lock" for file in files)


def _sqlite_file(settings: Settings) -> Path | None:
    url = make_url(settings.sqlalchemy_url)
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def _beside(database: Path) -> Path:
    return database.with_name(f"{database.name}.restoring")


def _remove(database: Path) -> None:
    for suffix in ("", "-wal", "-shm", ".lock"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
