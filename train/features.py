"""Texts as features: dense embeddings and sparse n-grams, row by row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

FloatMatrix = NDArray[np.float32]
IntVector = NDArray[np.int64]


@dataclass(frozen=True)
class FeatureRows:
    """``n`` texts as features: ``embeddings`` (n, h) and ``ngrams`` (n, k), each possibly absent."""

    embeddings: FloatMatrix | None
    ngrams: csr_matrix[np.float32] | None

    def __len__(self) -> int:
        if self.embeddings is not None:
            return len(self.embeddings)
        return int(self.ngrams.shape[0]) if self.ngrams is not None else 0

    def take(self, rows: IntVector) -> FeatureRows:
        """Return the given rows; embeddings that follow each other are not copied, since there may be gigabytes of them."""
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            return self.between(int(rows[0]), int(rows[-1]) + 1)
        embeddings = None if self.embeddings is None else self.embeddings[rows]
        return FeatureRows(embeddings, None if self.ngrams is None else self.ngrams[rows])

    def between(self, first: int, end: int) -> FeatureRows:
        """Return the rows from ``first`` up to ``end``; the embeddings share the memory of these."""
        return FeatureRows(
            None if self.embeddings is None else self.embeddings[first:end],
            None if self.ngrams is None else _between(self.ngrams, first, end),
        )

    def only(self, *, encoder: bool, ngrams: bool) -> FeatureRows:
        """Return the same rows with one kind of feature left out."""
        return FeatureRows(self.embeddings if encoder else None, self.ngrams if ngrams else None)


def _between(matrix: csr_matrix[np.float32], first: int, end: int) -> csr_matrix[np.float32]:
    bounds = matrix.indptr[first : end + 1]
    inside = slice(int(bounds[0]), int(bounds[-1]))
    parts = (matrix.data[inside], matrix.indices[inside], bounds - bounds[0])
    return csr_matrix(parts, shape=(end - first, matrix.shape[1]), copy=False)
