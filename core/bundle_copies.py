"""Bundles on their way between an object store and a node: pushed file by file, pulled whole and verified, or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from core.bundle import MANIFEST, Manifest, file_sha256, read_manifest
from core.errors import BundleError
from core.gate import GateDecision
from core.home import sync_folder, write_atomically
from core.objects import Objects
from core.shared_state import Listed, key_of

_WAITS_S = 1_800.0
# Longer than any pull takes.
_LEFT_BEHIND_S = 7_200.0
_PULLING, _ALTERED = ".pulling-", ".altered-"


class BundleCopies:
    """The bundles that one node has, in ``folder``; its processes share them."""

    def __init__(self, folder: Path, objects: Objects) -> None:
        self._folder = folder
        self._objects = objects
        folder.mkdir(parents=True, exist_ok=True)

    def push(self, bundle: Path, manifest: Manifest, decision: GateDecision | None) -> Listed:
        """Put a verified bundle, and what the gate said of it, into the store; what is there already is not sent again.

        Raises:
            BundlesUnavailable: the store does not take it.
        """
        for name, digest in manifest.files.items():
            self._objects.push(key_of(digest), bundle / name)
        bodies = [(bundle / MANIFEST).read_bytes()]
        if decision is not None:
            bodies.append(decision.model_dump_json(indent=1).encode())
        digests = [hashlib.sha256(body).hexdigest() for body in bodies]
        for digest, body in zip(digests, bodies, strict=True):
            self._objects.push(key_of(digest), body)
        return Listed(manifest=digests[0], decision=digests[1] if decision is not None else None)

    def small(self, digest: str, place: Path) -> bytes:
        """Return what has this digest: the file in ``place``, which is fetched if it is not there, or is another.

        Raises:
            BundlesUnavailable: it has to be fetched, and the store does not answer.
            BundleError: what the store has is another.
        """
        try:
            body = place.read_bytes()
        except FileNotFoundError:
            body = b""
        if hashlib.sha256(body).hexdigest() != digest:
            body = self._objects.fetch(key_of(digest))
            if hashlib.sha256(body).hexdigest() != digest:
                raise BundleError("the store of bundles holds something altered; restore it from a backup")
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(place, body)
        return body

    def pull(self, version: str, manifest: Manifest, body: bytes) -> None:
        """Have ``version``, whose manifest ``body`` is, in the folder; processes that want it at once pull it once.

        Raises:
            BundlesUnavailable: the store stops answering; the folder is as it was.
            BundleError: what the store has is not what was pushed.
        """
        folder = self._folder / version
        with self._turn(version):
            if (folder / MANIFEST).exists():
                return
            staged = Path(tempfile.mkdtemp(dir=self._folder, prefix=_PULLING))
            try:
                twins = self._twins()
                for name, digest in manifest.files.items():
                    self._bring(staged, name, digest, twins.get(digest))
                write_atomically(staged / MANIFEST, body)
                # What a crash or a person left in its place, without a manifest.
                shutil.rmtree(folder, ignore_errors=True)
                os.rename(staged, folder)
                sync_folder(self._folder)
            finally:
                shutil.rmtree(staged, ignore_errors=True)

    def adopt(self, bundle: Path, version: str) -> None:
        """Move ``bundle`` in as this node's copy of ``version``, which was pushed from it."""
        folder = self._folder / version
        with self._turn(version):
            if not folder.exists():
                # From another disk it is copied, and must not be seen before it is whole.
                staged = Path(tempfile.mkdtemp(dir=self._folder, prefix=_PULLING))
                shutil.move(bundle, staged / version)
                os.rename(staged / version, folder)
                staged.rmdir()
                sync_folder(self._folder)
        shutil.rmtree(bundle, ignore_errors=True)

    def drop(self, version: str) -> None:
        """Let go of this node's copy of ``version``; who has it open keeps what they have."""
        aside = Path(tempfile.mkdtemp(dir=self._folder, prefix=_ALTERED))
        with self._turn(version), suppress(FileNotFoundError):
            os.rename(self._folder / version, aside / version)
        shutil.rmtree(aside)

    def sweep(self) -> list[str]:
        """Remove what a crash left behind; return what was mended, as sentences."""
        mended = []
        for entry in self._folder.iterdir():
            if entry.name.startswith((_PULLING, _ALTERED)) and time.time() - entry.stat().st_mtime > _LEFT_BEHIND_S:
                shutil.rmtree(entry, ignore_errors=True)
                mended.append("a bundle had been pulled by halves")
        return mended

    @contextmanager
    def _turn(self, version: str) -> Iterator[None]:
        with FileLock(self._folder / f".{version}.lock", timeout=_WAITS_S):
            yield

    def _twins(self) -> dict[str, Path]:
        """Return, by digest, the files that are here already: versions of one encoder share nearly all their bytes."""
        found: dict[str, Path] = {}
        for folder in self._folder.glob("v*"):
            try:
                files = read_manifest(folder).files
            except BundleError:
                continue
            found |= {digest: folder / name for name, digest in files.items()}
        return found

    def _bring(self, staged: Path, name: str, digest: str, twin: Path | None) -> None:
        place = staged / name
        if not place.resolve().is_relative_to(staged.resolve()):
            raise BundleError(f"a bundle in the store names the file {name}, which lies outside the bundle")
        place.parent.mkdir(parents=True, exist_ok=True)
        if twin is not None and _linked(twin, place, digest):
            return
        if self._objects.pull(key_of(digest), place) != digest:
            raise BundleError(f"the store of bundles holds an altered {name}; restore it from a backup")


def _linked(twin: Path, place: Path, digest: str) -> bool:
    try:
        if file_sha256(twin) != digest:
            return False
        os.link(twin, place)
    except OSError:
        # Gone meanwhile, or a file system without links.
        return False
    return True
