"""Erasing everywhere: first from the store, then from all files that Hone keeps."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from core.discretion import Discretion
from core.errors import BundleError, DataError, InputError
from core.home import Home, append_line
from core.privacy_bodies import ErasureAnswer, ErasureRequest
from core.registries import registry_of
from core.registry import Registry
from core.schemas import PredictionRecord
from core.settings import Settings
from core.text import text_key
from feedback.erasures import Erasure, Target
from feedback.examples import Example, remove_examples
from feedback.spool import Spool
from feedback.store import Store


def erase(store: Store, settings: Settings, request: ErasureRequest, by: str) -> ErasureAnswer:
    """Return what was erased of a person or a text from the store, the spool, snapshots, base data and caches.

    A process killed in the middle leaves an erasure that :func:`finish_erasures` completes; asking again does no harm.

    Raises:
        InputError: neither or both of ``subject`` and ``text``.
        SubjectsDamaged: the secret behind subjects is lost.
        StoreUnavailable: nothing was erased, or nobody knows.
    """
    erasure_id, stopped = store.erase(target_of(request, Discretion.of(settings)), by)
    _sweep(store, settings, store.erasure(erasure_id))
    if request.retrain:
        run = store.create_run("head", "manual", f"without what {erasure_id} took away")
        store.note_retraining(erasure_id, run.run_id)
    return answer_of(store.erasure(erasure_id), stopped)


def erase_again(store: Store, settings: Settings, target: Target, by: str) -> str:
    """Return the id of a new erasure of what had been erased before an older backup brought it back."""
    erasure_id, _ = store.erase(target, by)
    _sweep(store, settings, store.erasure(erasure_id))
    return erasure_id


def target_of(request: ErasureRequest, discretion: Discretion) -> Target:
    """Return whose rows are meant; a text may be kept as it was sent or redacted, and is looked for as both."""
    if (request.subject is None) == (request.text is None):
        raise InputError("an erasure names exactly one of subject and text", allowed=["subject", "text"])
    if request.text is None:
        return Target(subject=discretion.pseudonym(request.subject))
    texts = [request.text]
    if discretion.redactor is not None:
        texts.append(discretion.redactor.redact(request.text))
    return Target(text_keys=tuple(sorted({text_key(text) for text in texts})))


def finish_erasures(store: Store, settings: Settings) -> int:
    """Return how many erasures were completed whose files nobody had seen to.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    waiting = store.unswept_erasures()
    for erasure in waiting:
        _sweep(store, settings, erasure)
    return len(waiting)


def forget_embeddings(home: Home) -> int:
    """Return how many files of embeddings and out-of-fold answers went: they name texts by hashes, and one can do without."""
    files = 0
    for folder in (home.cache / "embeddings", home.cache / "out-of-fold"):
        files += len(list(folder.glob("*"))) if folder.is_dir() else 0
        shutil.rmtree(folder, ignore_errors=True)
    return files


def forget_checkpoints(home: Home) -> int:
    """Return how many checkpoints of runs went: their weights may have learned from what was erased."""
    files = len(list(home.checkpoints.rglob("*.pt"))) if home.checkpoints.is_dir() else 0
    shutil.rmtree(home.checkpoints, ignore_errors=True)
    return files


def answer_of(erasure: Erasure, stopped: Collection[str] = ()) -> ErasureAnswer:
    """Return an erasure as it is told."""
    return ErasureAnswer(
        erasure_id=erasure.erasure_id,
        created_at=erasure.row["created_at"],
        by=erasure.row["by"],
        counts=erasure.row["counts"],
        versions=list(erasure.versions),
        runs_stopped=list(stopped),
        run_id=erasure.row["run_id"],
        complete=erasure.to_sweep is None,
    )


def _sweep(store: Store, settings: Settings, erasure: Erasure) -> None:
    home = settings.home
    keys = frozenset(erasure.to_sweep or ())
    target = erasure.target
    # First of all: whoever restores an old backup has to know, also when nothing else is left of this machine's store.
    line = {"erasure_id": erasure.erasure_id, "at": erasure.row["created_at"].isoformat()}
    append_line(home.erasures, {**line, "subject": target.subject, "text_keys": list(target.text_keys)})

    def said_before(record: PredictionRecord) -> bool:
        theirs = target.subject is not None and record.subject == target.subject
        return theirs or record.text_key in target.text_keys

    spooled, in_use = Spool(home.spool, 0).purge(said_before) if home.spool.is_dir() else (0, 0)
    # A person's own rows are corrections; a text of the base data that reads alike is nobody's in particular.
    whole_text = target.subject is None
    learned, in_snapshots, unread = _purge(home.snapshots, keys, base_too=whole_text)
    _, in_datasets, unread_too = _purge(home.datasets, keys, base_too=True) if whole_text else (set(), 0, 0)
    counts = {
        "spooled": spooled,
        "spool_files_in_use": in_use,
        "snapshot_examples": in_snapshots,
        "dataset_examples": in_datasets,
        "unreadable_files": unread + unread_too,
        "embedding_files": forget_embeddings(home),
        "checkpoints": forget_checkpoints(home),
    }
    store.note_swept(erasure.erasure_id, counts, sorted({*erasure.versions, *_versions_of(registry_of(settings), learned)}))


def _purge(folder: Path, keys: Collection[str], *, base_too: bool) -> tuple[set[str], int, int]:
    """Return which files' training had seen texts of ``keys``, how many examples went, how many files cannot be read."""
    learned: set[str] = set()
    total = unreadable = 0
    for path in sorted(folder.glob("*.parquet")):
        try:
            dropped = remove_examples(folder, path.stem, lambda found: _goes(found, keys, base_too=base_too))
        except DataError:
            # Nobody can say that it is free of it, nor that it is not: a person has to look.
            unreadable += 1
            continue
        total += len(dropped)
        # At which speed it was learned the file does not say; a head learns what people said of any text.
        if any(example.split != "test" or example.origin != "base" for example in dropped):
            learned.add(path.stem)
    return learned, total, unreadable


def _goes(example: Example, keys: Collection[str], *, base_too: bool) -> bool:
    return example.text_key in keys and (base_too or example.origin != "base")


def _versions_of(registry: Registry, snapshots: Collection[str]) -> list[str]:
    versions = []
    for version in registry.versions():
        try:
            lineage = registry.manifest(version).lineage
        except BundleError:
            continue
        if lineage.snapshot in snapshots:
            versions.append(version)
    return versions
