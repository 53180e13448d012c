"""Reading a bundle for serving: will it fit, does it survive a process of its own, does it answer its probes."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import onnxruntime as ort
from filelock import FileLock, Timeout

from core.bundle import Manifest, read_manifest
from core.classifier import Classifier
from core.engines import choose_engine
from serve.beside import TRIAL_NICENESS, SideProcess
from serve.heap import check_fits, is_held

TURN_S = 10.0


def load_bundle(folder: Path, *, threads: int, cache: Path) -> Classifier:
    """Return the classifier in ``folder``, verified, with the engine that ``cache`` remembers as the fastest here.

    Raises:
        BundleError: when it cannot be used.
    """
    choice = choose_engine(folder, read_manifest(folder), threads=threads, cache=cache)
    if choice is None:
        return Classifier.load(folder, threads=threads)
    classifier = Classifier.load(folder, threads=choice.threads, variant=choice.variant, provider=choice.provider)
    classifier.lanes, classifier.batch_texts = choice.lanes, choice.batch_texts
    return classifier


@dataclass(frozen=True)
class BundleLoader:
    """Loads bundles; ``cache`` is the folder that remembers which engine files have loaded here, and how fast they are."""

    cache: Path
    threads: int
    timeout_s: float
    memory_reserve_bytes: int

    def __call__(self, folder: Path) -> Classifier:
        """Return the classifier in ``folder``, every checksum and probe of it verified.

        Engine files that never loaded on this machine are first tried, and measured, in a process of its own, because what is
        wrong with them may end or hang the one that loads them. That costs a few seconds, once.

        Raises:
            BundleError: when it cannot be used, with the reason.
        """
        manifest = read_manifest(folder)
        check_fits(folder, manifest, reserve_bytes=self.memory_reserve_bytes)
        if manifest.encoder is None or is_held(manifest):
            return load_bundle(folder, threads=self.threads, cache=self.cache)
        with self._turn():
            self._prove(folder, manifest)
            return load_bundle(folder, threads=self.threads, cache=self.cache)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Keep the replicas of one machine from loading at once: while one does, the others have the cores to answer."""
        self.cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.cache / "loading.lock")
        # One that hangs must not keep the others waiting for ever.
        with suppress(Timeout):
            lock.acquire(timeout=TURN_S)
        try:
            yield
        finally:
            lock.release()

    def _prove(self, folder: Path, manifest: Manifest) -> None:
        engines = (
            sorted(manifest.files.get(file, "") for file in manifest.encoder.variants.values()) if manifest.encoder else []
        )
        machine = " ".join([*engines, ort.__version__, platform.node(), platform.machine()])
        proof = self.cache / "proofs" / sha256(machine.encode()).hexdigest()
        if proof.exists():
            return
        proof.parent.mkdir(parents=True, exist_ok=True)
        with SideProcess([folder], niceness=TRIAL_NICENESS) as trial:
            trial.load(threads=self.threads, cache=self.cache, timeout_s=self.timeout_s)
        proof.touch()
