"""What a head is fitted by: weighted cross-entropy of a softmax over dense and sparse features, and a penalty on the weights.

Rows are taken in blocks, so that the scores (n, c) never exist as a whole. Each thread has rows of its own, and their sums are
added in order: for one number of threads the result is always the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # it has no types

from train.features import FeatureRows, FloatMatrix, IntVector

# Scores of one block: about what a core's cache holds.
_BLOCK_SCORES = 2**18
# Below so many scores a thread costs more than it saves.
_LEAST_SCORES_PER_THREAD = 2**17
# Rows on which the spread of the features is measured; it only steers the search.
_SPREAD_ROWS = 16_384
# Beyond it the axes of the spread cost more to find than they save: their time grows with the third power.
_MOST_AXES = 1_536
# A class that hardly any row could belong to counts as this share of the average one when its curvature is guessed.
_LEAST_CURVATURE = 1e-3


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep linear algebra to the thread that asks for it, since a loss has threads of its own.

    Where other processes want the cores too, threads within a product of matrices mostly wait for each other.
    """
    with threadpool_limits(1):
        yield


@dataclass(frozen=True)
class _Block:
    """Rows that are scored at once; ``share`` is what each counts of the whole."""

    rows: FeatureRows
    labels: IntVector
    share: NDArray[np.float32]


@dataclass(frozen=True)
class _Sums:
    """What one thread adds up over its blocks; ``curvature`` (c,) sums ``share · p · (1 - p)``."""

    loss: float
    curvature: NDArray[np.float64]


class SoftmaxLoss:
    """The loss as a function of all weights of a head in one matrix (h + k + 1, c): dense, sparse, bias.

    Args:
        rows: features (n, h) and (n, k).
        labels: class indices (n,).
        classes: number of classes c.
        weights: weight of each row (n,), above 0; None weighs all alike.
        regularisation: inverse strength of the penalty ``|W|² / 2``, as scikit-learn's ``C``; the bias is free.
        threads: how many may be used.
    """

    def __init__(
        self,
        rows: FeatureRows,
        labels: IntVector,
        *,
        classes: int,
        weights: NDArray[np.float32] | None,
        regularisation: float,
        threads: int,
    ) -> None:
        total = float(len(labels)) if weights is None else float(weights.sum(dtype=np.float64))
        share = np.full(len(labels), 1.0 / total, np.float32) if weights is None else (weights / total).astype(np.float32)
        self._penalty = np.float32(1.0 / (regularisation * total))
        self._h = 0 if rows.embeddings is None else rows.embeddings.shape[1]
        self._k = 0 if rows.ngrams is None else rows.ngrams.shape[1]
        self.shape = (self._h + self._k + 1, classes)
        threads = max(1, min(threads, len(labels) * classes // _LEAST_SCORES_PER_THREAD))
        # The product of a block's n-grams is as large as their weights, so blocks should not be much smaller than that.
        most = max(1, _BLOCK_SCORES // classes, self._k // 2)
        spans = _spans(len(labels), threads)
        self._blocks = [
            [_Block(rows.between(first, end), labels[first:end], share[first:end]) for first, end in _cuts(start, stop, most)]
            for start, stop in spans
        ]
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._spread = _Spread.of(rows, share)
        # Where no feature says anything, each class is as probable as it is frequent.
        frequency = (np.bincount(labels, weights=share, minlength=classes) + 1.0 / total) / (1.0 + classes / total)
        self.start = np.zeros(self.shape, dtype=np.float32)
        self.start[-1] = np.log(frequency)
        self._curvature = frequency * (1.0 - frequency)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def at(self, weights: FloatMatrix) -> tuple[float, FloatMatrix]:
        """Return mean loss plus penalty, and its gradient."""
        gradients = [np.zeros(self.shape, dtype=np.float32) for _ in self._blocks]
        work = [(weights, blocks, gradient) for blocks, gradient in zip(self._blocks, gradients, strict=True)]
        if self._pool is None:
            sums = [self._over(*each) for each in work]
        else:
            sums = list(self._pool.map(lambda each: self._over(*each), work))
        gradient = gradients[0]
        for other in gradients[1:]:
            gradient += other
        free = weights[:-1]
        for first, end in _cuts(0, len(free), max(1, _BLOCK_SCORES // self.shape[1])):
            gradient[first:end] += self._penalty * free[first:end]
        curvature = np.sum([each.curvature for each in sums], axis=0)
        self._curvature = np.maximum(curvature, _LEAST_CURVATURE * max(float(curvature.mean()), 1e-12))
        penalty = 0.5 * float(self._penalty) * float(np.vdot(free, free))
        return sum(each.loss for each in sums) + penalty, gradient

    def precondition(self, gradient: FloatMatrix) -> FloatMatrix:
        """Return the gradient divided by a guess of the curvature.

        The curvature in the weights of class j is the spread of the features, each row counted by ``p · (1 - p)`` of its
        probability for j. The guess counts all rows alike, and by their average for the class: dense features along the axes
        of their spread, n-grams each by itself.
        """
        curvature, penalty = self._curvature.astype(np.float32), self._penalty
        out = np.empty_like(gradient)
        h, spread = self._h, self._spread
        edge = np.concatenate([gradient[:h], gradient[-1:]])
        turned = spread.axes.T @ edge if spread.axes is not None else edge
        turned /= np.multiply.outer(spread.dense, curvature) + penalty
        edge = spread.axes @ turned if spread.axes is not None else turned
        out[:h], out[-1] = edge[:h], edge[h]
        if self._k:
            steps = out[h:-1]
            np.multiply.outer(spread.sparse, curvature, out=steps)
            steps += penalty
            np.divide(gradient[h:-1], steps, out=steps)
        return out

    def _over(self, weights: FloatMatrix, blocks: list[_Block], gradient: FloatMatrix) -> _Sums:
        """Return loss and curvature over ``blocks``, and add their part of the gradient."""
        h, k = self._h, self._k
        loss, curvature = 0.0, np.zeros(self.shape[1])
        for block in blocks:
            dense, sparse, share = block.rows.embeddings, block.rows.ngrams, block.share
            scores = dense @ weights[:h] if dense is not None else np.zeros((len(share), self.shape[1]), np.float32)
            if sparse is not None:
                scores += sparse @ weights[h : h + k]
            scores += weights[-1]
            scores -= scores.max(axis=1, keepdims=True)
            place = np.arange(len(share))
            right = scores[place, block.labels]
            np.exp(scores, out=scores)
            totals = scores.sum(axis=1)
            loss += float(((np.log(totals) - right) * share).sum(dtype=np.float64))
            scores *= (share / totals)[:, None]
            sums = scores.sum(axis=0)
            curvature += sums - np.einsum("ij,ij,i->j", scores, scores, 1.0 / share)
            scores[place, block.labels] -= share
            if dense is not None:
                gradient[:h] += dense.T @ scores
            if sparse is not None:
                gradient[h : h + k] += sparse.T @ scores
            gradient[-1] += sums
            np.subtract.at(gradient[-1], block.labels, share)
        return _Sums(loss, curvature)


@dataclass(frozen=True)
class _Spread:
    """Second moments of the features: of the dense ones and the bias along ``axes`` (h + 1, h + 1), of each n-gram alone."""

    axes: FloatMatrix | None
    dense: NDArray[np.float32]
    sparse: NDArray[np.float32]

    @classmethod
    def of(cls, rows: FeatureRows, share: NDArray[np.float32]) -> _Spread:
        every = max(1, len(share) // _SPREAD_ROWS)
        part = share[::every] / share[::every].sum()
        ones = np.ones((len(part), 1), np.float32)
        dense = ones if rows.embeddings is None else np.hstack([rows.embeddings[::every], ones])
        if dense.shape[1] > _MOST_AXES:
            axes, along = None, np.einsum("ij,ij,i->j", dense, dense, part)
        else:
            moments, directions = np.linalg.eigh((dense.T * part) @ dense)
            axes, along = directions, np.maximum(moments, 0.0)
        sparse = np.empty(0, np.float32)
        if rows.ngrams is not None:
            squares = rows.ngrams.copy()
            squares.data = np.square(squares.data)
            sparse = np.asarray(squares.T @ share, dtype=np.float32)
        return cls(axes, along.astype(np.float32), sparse)


def _spans(rows: int, threads: int) -> list[tuple[int, int]]:
    """Return the rows of each thread as (first, end)."""
    return list(pairwise(rows * number // threads for number in range(threads + 1)))


def _cuts(first: int, end: int, most: int) -> list[tuple[int, int]]:
    """Return pieces of about equal size, ``most`` at most, from ``first`` to ``end``."""
    pieces = max(1, -(-(end - first) // most))
    return [(first + start, first + stop) for start, stop in _spans(end - first, pieces)]
