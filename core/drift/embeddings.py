"""Drift of what texts mean: the maximum mean discrepancy between their embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from core.drift.chance import permutation_p_value
from core.drift.detector import MIN_ROWS, Detector, Score
from core.drift.samples import FloatMatrix, Sample

_CHUNK = 1_000


class MmdDetector(Detector):
    """The squared maximum mean discrepancy under a Gaussian kernel, ``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)``.

    It is 0 in the limit only where the distributions are equal. The kernel's width is the median distance between rows of the
    reference, as the paper suggests; the p-value is a permutation test's.
    """

    name = "embedding"
    watches = "inputs"
    unit = "squared maximum mean discrepancy"
    source = "Gretton et al., Journal of Machine Learning Research 13 (2012)"

    def __init__(self) -> None:
        super().__init__()
        self._ours: _Ours | None = None

    def fit(self, reference: Sample) -> Self:
        """Keep the reference, of which no window has to compute anything again, and return the detector."""
        rows = reference.texts.embeddings if reference.texts is not None else None
        self._ours = None if rows is None or len(rows) < MIN_ROWS else _Ours.of(rows)
        return super().fit(reference)

    def _compare(self, reference: Sample, window: Sample) -> Score | None:  # noqa: ARG002 - what is needed of it is kept
        if self._ours is None or window.texts is None:
            return None
        ours, theirs = self._ours.rows, window.texts.embeddings
        if theirs is None or ours.shape[1] != theirs.shape[1] or len(theirs) < MIN_ROWS:
            return None
        kernel = _kernel(self._ours, _sorted(theirs.astype(np.float32)))
        sizes = np.zeros(len(kernel), dtype=np.float32)
        sizes[len(ours) :] = 1.0
        size = float(_discrepancy(kernel, sizes[:, None])[0])

        def by_chance(random: np.random.Generator, times: int) -> NDArray[np.float64]:
            found = []
            for start in range(0, times, _CHUNK):
                members = np.tile(sizes, (min(_CHUNK, times - start), 1))
                found.append(_discrepancy(kernel, random.permuted(members, axis=1).T))
            return np.concatenate(found)

        return Score(max(0.0, size), permutation_p_value(size, by_chance))


@dataclass(frozen=True)
class _Ours:
    """The reference's rows (m, h) in one order, the kernel among them (m, m), and its width."""

    rows: FloatMatrix
    kernel: FloatMatrix
    width: float

    @classmethod
    def of(cls, rows: FloatMatrix) -> _Ours:
        rows = _sorted(rows.astype(np.float32))
        distances = _distances(rows, rows)
        # A reference of equal rows has no width of its own; then whatever is not equal is far.
        width = float(np.median(distances[np.triu_indices(len(rows), 1)])) or 1.0
        return cls(rows, np.exp(-distances / np.float32(width)), width)


def _sorted(rows: FloatMatrix) -> FloatMatrix:
    """Return the rows in an order of their own, so that permutations, which are of places, do not hang on how they came in."""
    content = [row.tobytes() for row in rows]
    return np.ascontiguousarray(rows[sorted(range(len(rows)), key=content.__getitem__)])


def _distances(ours: FloatMatrix, theirs: FloatMatrix) -> FloatMatrix:
    ours_squared, theirs_squared = (np.einsum("nh,nh->n", rows, rows) for rows in (ours, theirs))
    return np.asarray(np.maximum(0.0, ours_squared[:, None] + theirs_squared[None, :] - 2.0 * (ours @ theirs.T)), np.float32)


def _kernel(ours: _Ours, theirs: FloatMatrix) -> FloatMatrix:
    across = np.exp(-_distances(ours.rows, theirs) / np.float32(ours.width))
    within = np.exp(-_distances(theirs, theirs) / np.float32(ours.width))
    return np.block([[ours.kernel, across], [across.T, within]])


def _discrepancy(kernel: FloatMatrix, members: FloatMatrix) -> NDArray[np.float64]:
    """Return the unbiased discrepancy (t,) between the rows outside and inside each column of ``members`` (n, t)."""
    inside = float(members[:, 0].sum())
    outside = len(kernel) - inside
    weighted = kernel @ members
    within = np.einsum("nt,nt->t", members, weighted, dtype=np.float64)
    total = float(kernel.sum(dtype=np.float64))
    reached = weighted.sum(axis=0, dtype=np.float64)
    across = reached - within
    rest = total - within - 2.0 * across
    diagonal = np.diagonal(kernel)
    own = diagonal.astype(np.float64) @ members
    own_rest = float(diagonal.sum()) - own
    return np.asarray(
        (rest - own_rest) / (outside * (outside - 1.0))
        + (within - own) / (inside * (inside - 1.0))
        - 2.0 * across / (inside * outside)
    )
