"""Reading a bundle for serving: will it fit, does it survive a process of its own, does it answer its probes."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import onnxruntime as ort
from filelock import FileLock, Timeout

from core.bundle import Manifest, read_manifest
from core.classifier import Classifier
from core.encoder import held_encoder
from core.engines import choose_engine
from core.errors import BundleError
from serve.beside import SideProcess
from serve.memory import check_fits


@dataclass(frozen=True)
class BundleLoader:
    """Loads bundles; ``proofs`` remembers which engine files have loaded on this machine, ``cache`` how fast they are."""

    proofs: Path
    cache: Path
    threads: int
    timeout_s: float
    memory_reserve_bytes: int

    def __call__(self, folder: Path) -> Classifier:
        """Return the classifier in ``folder``, every checksum and probe of it verified.

        An engine file that never loaded on this machine is first tried in a process of its own, because what is wrong with it
        may end or hang the one that loads it. That costs two seconds or so, once.

        Raises:
            BundleError: when it cannot be used, with the reason.
        """
        manifest = read_manifest(folder)
        check_fits(folder, manifest, threads=self.threads, reserve_bytes=self.memory_reserve_bytes)
        digest = _engine_digest(manifest)
        if digest is not None and held_encoder(digest, threads=self.threads) is None:
            self._prove(folder, digest)
        choice = choose_engine(folder, manifest, threads=self.threads, cache=self.cache)
        if choice is None:
            return Classifier.load(folder, threads=self.threads)
        return Classifier.load(folder, threads=self.threads, variant=choice.variant, provider=choice.provider)

    def _prove(self, folder: Path, digest: str) -> None:
        machine = f"{digest} {ort.__version__} {platform.node()} {platform.machine()}"
        proof = self.proofs / sha256(machine.encode()).hexdigest()
        if proof.exists():
            return
        self.proofs.mkdir(parents=True, exist_ok=True)
        try:
            # Replicas take turns: one trial is enough, and two at a time take twice the memory.
            with FileLock(f"{proof}.lock", timeout=self.timeout_s):
                if not proof.exists():
                    with SideProcess([folder]) as trial:
                        trial.load(threads=self.threads, timeout_s=self.timeout_s)
                    proof.touch()
        except Timeout:
            raise BundleError(f"another replica has been trying {folder.name} for {self.timeout_s:g} s") from None


def _engine_digest(manifest: Manifest) -> str | None:
    if manifest.encoder is None:
        return None
    return manifest.files.get(manifest.encoder.variants.get(manifest.encoder.serving, ""))
