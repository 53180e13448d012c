"""Candidates that are wrong in one way each, registered as a careless or unlucky learner would."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from core.bundle import HEAD, Manifest, Probe, read_manifest, seal
from core.classifier import Classifier, Head
from core.registry import Registry
from tests.bundles import LABELS, write_ngram_bundle
from tests.core import encoders


def register(registry: Registry, write: Callable[[Path], None]) -> str:
    """Register what ``write`` puts into an empty path and return its version; promoting it is the test's business."""
    staged = registry.root / f"staged-{len(registry.versions())}"
    write(staged)
    return registry.register(staged, None, by="test", why="a candidate")


def with_other_labels(folder: Path) -> None:
    """Write a bundle whose manifest names its labels in another order than its head has them."""
    write_ngram_bundle(folder, seed=5)
    _reseal(folder, lambda manifest: {"labels": [*manifest.labels[1:], manifest.labels[0]]})


def with_too_few_labels(folder: Path) -> None:
    """Write a bundle whose manifest names fewer labels than its head has."""
    write_ngram_bundle(folder, seed=5)
    _reseal(folder, lambda manifest: {"labels": manifest.labels[:-1]})


def that_gives_nan(folder: Path) -> None:
    """Write a bundle whose engine files answer with what is not a number."""
    encoders.write_encoder_bundle(folder)
    for file in (encoders.FP32, encoders.INT8):
        encoders.write_graph(folder / file, scale=np.nan)
    _reseal(folder, lambda _: {})


def that_fails_parity(folder: Path) -> None:
    """Write a bundle whose engine files are sound, and of another encoder than it was judged with."""
    encoders.write_encoder_bundle(folder)
    for file in (encoders.FP32, encoders.INT8):
        encoders.write_graph(folder / file, seed=77)
    _reseal(folder, lambda _: {})


def that_collapsed(folder: Path) -> None:
    """Write a bundle that is sound, passes its own probes, and says one label to everything."""
    manifest = write_ngram_bundle(folder, seed=5)
    Head(None, np.zeros((len(LABELS), len(LABELS)), dtype="f4"), np.array([3.0, 0.0, 0.0], dtype="f4")).save(folder / HEAD)
    scores = Classifier.load(folder, checked=False).predict([probe.text for probe in manifest.probes])
    probes = [
        Probe(text=probe.text, label=LABELS[0], score=float(row[0])) for probe, row in zip(manifest.probes, scores, strict=True)
    ]
    _reseal(folder, lambda _: {"probes": probes})


def with_an_encoder(folder: Path) -> None:
    """Write a sound bundle with an engine file."""
    encoders.write_encoder_bundle(folder)


def damage(registry: Registry, version: str) -> None:
    """Alter a registered version behind the registry's back, as a failing disk would."""
    (registry.path(version) / HEAD).write_bytes(b"not what was registered")


def lose(registry: Registry, version: str) -> None:
    """Remove a registered version behind the registry's back."""
    shutil.rmtree(registry.path(version))


def _reseal(folder: Path, changed: Callable[[Manifest], dict[str, object]]) -> None:
    manifest = read_manifest(folder)
    seal(folder, manifest.model_copy(update=changed(manifest)))
