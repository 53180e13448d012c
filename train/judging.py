"""Letting a candidate and the champion answer the same rows, and asking the gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.bundle import HEAD, NGRAMS, read_manifest
from core.classifier import Head, softmax
from core.gate import Answers, GateDecision, GateLimits, decide, decide_first
from core.label_book import LabelBook
from core.labels import LabelSet
from core.ngrams import Ngrams
from core.registry import Registry
from core.settings import Settings
from core.text import clean
from feedback.snapshot import Example, Snapshot
from train.encode import EmbeddingCache, ExportedEncoder
from train.head import FeatureRows, logits
from train.vectorise import ngram_rows

FloatMatrix = NDArray[np.float32]
IntVector = NDArray[np.int64]


def limits_of(settings: Settings) -> GateLimits:
    """Return the gate's limits from the settings."""
    return GateLimits(
        min_rows=settings.gate_min_rows,
        alpha=settings.gate_alpha,
        max_loss_ratio=settings.gate_max_loss_ratio,
        max_class_loss_ratio=settings.gate_max_class_loss_ratio,
        max_negative_flip_ratio=settings.gate_max_negative_flip_ratio,
        min_parity_ratio=settings.gate_min_parity_ratio,
    )


def scores_of(folder: Path, texts: Sequence[str], cache: Path) -> FloatMatrix:
    """Return the probabilities (n, c) the bundle in ``folder`` serves for raw texts, with embeddings kept in ``cache``."""
    manifest = read_manifest(folder)
    cleaned = [clean(text, manifest.text) for text in texts]
    encoder = ExportedEncoder.of_bundle(folder, manifest)
    embeddings = None
    if encoder is not None and manifest.encoder is not None:
        embeddings = EmbeddingCache(cache).embed(
            encoder, cleaned, max_tokens=manifest.encoder.max_tokens, variant=manifest.encoder.serving
        )
    rows = ngram_rows(Ngrams.load(folder / NGRAMS), cleaned) if manifest.ngrams is not None else None
    if embeddings is None and rows is None:
        raise ValueError("a bundle has features of one kind at least")
    head = Head.load(folder / HEAD)
    return softmax(logits(head, FeatureRows(embeddings, rows)) / np.float32(manifest.temperature))


def judge_candidate(
    candidate: Path,
    champion: str | None,
    registry: Registry,
    snapshot: Snapshot,
    settings: Settings,
    book: LabelBook | None = None,
) -> GateDecision:
    """Return the gate's decision on the bundle in ``candidate`` against the version ``champion``.

    The holdout is the base part of the test split. Corrections that the champion had not learned from are asked about as well.
    Where labels were merged or renamed since, the champion's answers count as what they stand for by ``book``.
    """
    limits, cache = limits_of(settings), settings.home.cache
    manifest = read_manifest(candidate)
    parity = manifest.parity.label_agreement_ratio if manifest.parity else 1.0
    holdout = [example for example in snapshot.of_split("test") if example.origin == "base"]
    if champion is None:
        commonest = Counter(example.label for example in holdout).most_common(1)
        majority = commonest[0][1] / len(holdout) if commonest else 0.0
        return decide_first(len(holdout), manifest.metrics.get("accuracy", 0.0), majority, parity, limits)
    names = {name: name if book is None else book.now(name) or name for name in registry.manifest(champion).labels}
    fresh = _new_corrections(snapshot, registry, champion, settings, names)
    labels = LabelSet.of([*manifest.labels, *names.values()])
    comparison = _Comparison(registry.path(champion), names, candidate, labels, cache)
    return decide(
        comparison.answers(holdout),
        comparison.answers(fresh),
        labels=list(labels),
        parity_ratio=parity,
        champion=champion,
        limits=limits,
    )


@dataclass(frozen=True)
class _Comparison:
    """The champion and a candidate; ``names`` says what each of the champion's labels is called by now."""

    champion: Path
    names: Mapping[str, str]
    candidate: Path
    labels: LabelSet
    cache: Path

    def answers(self, examples: Sequence[Example]) -> Answers:
        """Return the right labels, the champion's and the candidate's, as indices of ``labels``."""
        known = [example for example in examples if example.label in self.labels]
        truth = np.array([self.labels.index(example.label) for example in known], dtype=np.int64)
        if not known:
            return Answers(truth, truth, truth)
        texts = [example.text for example in known]
        return Answers(truth, self._answers(self.champion, texts, self.names), self._answers(self.candidate, texts, {}))

    def _answers(self, folder: Path, texts: Sequence[str], names: Mapping[str, str]) -> IntVector:
        own = np.array([self.labels.index(names.get(name, name)) for name in read_manifest(folder).labels], dtype=np.int64)
        answers: IntVector = own[scores_of(folder, texts, self.cache).argmax(axis=1)]
        return answers


def _new_corrections(
    snapshot: Snapshot, registry: Registry, champion: str, settings: Settings, names: Mapping[str, str]
) -> list[Example]:
    corrected = [example for example in snapshot.examples if example.origin == "correction"]
    if not corrected:
        return []
    before = Snapshot.load(settings.home.snapshots, registry.manifest(champion).lineage.snapshot)
    learned = {(example.text_key, names.get(example.label, example.label)) for example in before.training}
    return [example for example in corrected if (example.text_key, example.label) not in learned]
