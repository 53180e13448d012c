"""Features of texts from a frozen base encoder and from n-grams: they have seen no label, so they betray none."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.classifier import softmax
from core.settings import Settings
from train.base import load_base
from train.encode import EmbeddingCache, ExportedEncoder, OnShare
from train.export import export_encoder
from train.head import FeatureRows, fit_head, logits
from train.rows import token_limit
from train.vectorise import fit_ngrams, ngram_rows

FloatMatrix = NDArray[np.float32]
IntVector = NDArray[np.int64]

_SAMPLE_TEXTS = 256
_TOKEN_SAMPLE = 5_000


def frozen_features(
    settings: Settings, texts: Sequence[str], *, base: str | None = None, on_share: OnShare = lambda _share: None
) -> FeatureRows:
    """Return embeddings of the base encoder, kept in the cache of the state folder, beside the n-grams of cleaned ``texts``.

    Raises:
        EncoderError: the encoder cannot be found or read.
        DataError: there are too few texts for n-grams.
    """
    encoder = load_base(base)
    lengths = [len(encoding.ids) for encoding in encoder.tokenizer.encode_batch(list(texts[:_TOKEN_SAMPLE]))]
    limit = token_limit(lengths, encoder.max_positions)
    kept = ExportedEncoder.of_cache(settings.home.cache, encoder.digest())
    if kept is None:
        staging = tempfile.mkdtemp(dir=settings.home.runs, prefix="frozen-")
        try:
            sample = texts[:: max(1, len(texts) // _SAMPLE_TEXTS)][:_SAMPLE_TEXTS]
            kept = export_encoder(encoder, Path(staging), sample, None).keep(settings.home.cache)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    embeddings = EmbeddingCache(settings.home.cache).embed(kept, texts, max_tokens=limit, on_share=on_share)
    return FeatureRows(embeddings, ngram_rows(fit_ngrams(texts, longest=2, min_documents=2), texts))


def cross_validated(
    rows: FeatureRows, labels: IntVector, *, classes: int, folds: int = 5, regularisation: float = 1.0, seed: int = 0
) -> FloatMatrix:
    """Return probabilities (n, c) of each row from a head that was fitted on the other folds alone.

    ``regularisation`` is stronger than where a head is to serve: one that follows single rows follows wrong labels too.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    fold = np.empty(len(labels), dtype=np.int64)
    # Dealt out label by label, so that every fold has its share of each.
    by_label = order[np.argsort(labels[order], kind="stable")]
    fold[by_label] = np.arange(len(labels)) % folds
    out = np.zeros((len(labels), classes), dtype=np.float32)
    for number in range(folds):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not len(inside) or not len(outside):
            continue
        head = fit_head(rows.take(inside), labels[inside], classes=classes, regularisation=regularisation)
        out[outside] = softmax(logits(head, rows.take(outside)))
    return out
