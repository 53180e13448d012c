"""What a bundle serves for texts, computed with embeddings that are kept: for judging and planning, not for serving."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.bundle import HEAD, NGRAMS, read_manifest
from core.classifier import Head, softmax
from core.ngrams import Ngrams
from core.text import clean
from train.encode import EmbeddingCache, ExportedEncoder
from train.head import FeatureRows, logits
from train.vectorise import ngram_rows

FloatMatrix = NDArray[np.float32]


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
