"""The profile of a version in the making: how it answers its held-out rows, kept for whoever watches it for drift."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.drift.detector import MIN_ROWS
from core.drift.profile import MAX_EMBEDDINGS, MAX_ROWS, Profile, common_words, read_profile
from core.drift.samples import Sample, Texts, measure_texts
from core.errors import BundleError
from core.ngrams import words_of
from train.rows import Rows

FloatMatrix = NDArray[np.float32]


def profile_of(
    rows: Rows,
    scores: FloatMatrix,
    embed: Callable[[Sequence[str]], FloatMatrix] | None,
    known: Callable[[str], bool],
    parent: Path | None,
) -> Profile | None:
    """Return the profile over the test rows; None where they are too few to compare anything with.

    Args:
        rows: the rows of the fit; those of the test part were never trained on.
        scores: the probabilities (t, c) that the served engine gives these.
        embed: embeds cleaned texts with the served engine; None without an encoder.
        known: whether training knew a word.
        parent: the bundle fitted on from; over the same test rows its languages need not be told again.
    """
    test = rows.test
    if len(test) < MIN_ROWS:
        return None
    chosen = _spread(len(test), MAX_ROWS)
    places = test[chosen]
    texts = rows.pick(places)
    key = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    answers = scores[chosen].argmax(axis=1)
    names = [rows.names.names[place] for place in answers.tolist()]
    embeddings = embed([texts[place] for place in _spread(len(texts), MAX_EMBEDDINGS)]) if embed is not None else None
    measured = measure_texts(texts, known, embeddings, _languages(parent, key))
    return Profile(
        Sample(tuple(names), scores[chosen].max(axis=1), measured),
        np.asarray(answers == rows.labels[places]),
        common_words(map(words_of, texts), len(texts)),
        key,
    )


def _languages(parent: Path | None, key: str) -> tuple[str, ...] | None:
    try:
        known = read_profile(parent) if parent is not None else None
    except BundleError:
        return None
    texts: Texts | None = known.sample.texts if known is not None and known.texts_key == key else None
    return texts.languages if texts is not None else None


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` places of ``count``, evenly spread, in order."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
