"""Tiny real bundles for tests: n-gram features only, written in milliseconds, verified like any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.bundle import CARD, HEAD, NGRAMS, Lineage, Manifest, NgramSpec, Probe, seal
from core.classifier import Classifier, Head
from core.drift.profile import PROFILE, Profile
from core.gate import GateDecision
from core.ngrams import Ngrams
from core.registry import Registry
from core.schemas import now
from core.text import TextSettings

LABELS = ("negative", "neutral", "positive")


def write_ngram_bundle(
    folder: Path, labels: Sequence[str] = LABELS, seed: int = 0, speed: str = "head", profile: Profile | None = None
) -> Manifest:
    """Write a sealed bundle into ``folder`` and return its manifest.

    A text that holds a label's name (in lower case, as one token) is answered with that label; ``seed`` moves every score a
    little, so that bundles of two seeds can be told apart by their answers.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    words = [label.lower() for label in labels]
    ngrams = Ngrams(1, {word: place for place, word in enumerate(words)}, np.ones(len(words), dtype=np.float32))
    weights = 4.0 * np.eye(len(labels), dtype=np.float32) + random.normal(0.0, 0.2, (len(labels), len(labels))).astype("f4")
    head = Head(None, weights, random.normal(0.0, 0.2, len(labels)).astype("f4"))
    manifest = Manifest(
        created_at=now(),
        labels=list(labels),
        text=TextSettings(),
        features="ngrams",
        encoder=None,
        ngrams=NgramSpec(size=len(words), longest=1, min_documents=1),
        temperature=1.0,
        metrics={"accuracy": 0.9},
        parity=None,
        lineage=_lineage(seed, speed),
        probes=[],
    )
    scores = Classifier(manifest, head, None, None, ngrams).predict(words)
    probes = [
        Probe(text=word, label=label, score=float(row[place]))
        for place, (word, label, row) in enumerate(zip(words, labels, scores, strict=True))
    ]
    head.save(folder / HEAD)
    ngrams.save(folder / NGRAMS)
    if profile is not None:
        profile.save(folder / PROFILE)
    (folder / CARD).write_text(f"# A classifier of {len(labels)} labels\n", encoding="utf-8")
    return seal(folder, manifest.model_copy(update={"probes": probes}))


def register_ngram_bundle(
    registry: Registry, labels: Sequence[str] = LABELS, seed: int = 0, decision: GateDecision | None = None
) -> str:
    """Write a bundle, register it and return its version; promoting it is the test's business."""
    staged = registry.root / f"staged-{seed}-{len(registry.versions())}"
    write_ngram_bundle(staged, labels, seed)
    return registry.register(staged, decision, by="test", why="a fixture")


def _lineage(seed: int, speed: str) -> Lineage:
    return Lineage.model_validate(
        {
            "parent": None,
            "dataset": "0" * 64,
            "snapshot": f"{seed:064x}",
            "run": None,
            "speed": speed,
            "seed": seed,
            "settings": {},
            "libraries": {},
            "rows": {"train": 3},
            "train_s": 0.0,
        }
    )
