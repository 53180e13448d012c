"""Drift of single quantities: Kolmogorov and Smirnov for numbers, PSI and Jensen-Shannon for names."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from core.drift.chance import permutation_p_value
from core.drift.detector import Detector, Score, Watched
from core.drift.samples import FloatVector, Sample

Counts = NDArray[np.int64]


class NumberDetector(Detector):
    """The two-sample test of Kolmogorov and Smirnov on one number per answer; the size is the largest gap between the two
    distribution functions, ``sup |F(x) - G(x)|``.

    With ties, as lengths have them, the p-value is an upper bound (Noether, Statistica Neerlandica 17, 1963).
    """

    unit = "largest gap between the distribution functions"
    source = "Smirnov, Annals of Mathematical Statistics 19 (1948)"

    def __init__(self, name: str, watches: Watched, of: Callable[[Sample], FloatVector | None]) -> None:
        super().__init__()
        self.name, self.watches, self._of = name, watches, of

    def _compare(self, reference: Sample, window: Sample) -> Score | None:
        ours, theirs = self._of(reference), self._of(window)
        if ours is None or theirs is None:
            return None
        found = ks_2samp(ours, theirs, method="asymp")
        return Score(float(found.statistic), float(found.pvalue))


class NameDetector(Detector):
    """A divergence between the shares of names in two samples; the p-value is a permutation test's, so it is exact however
    few of a name there are, where the usual chi-square is not.
    """

    def __init__(self, name: str, watches: Watched, of: Callable[[Sample], Sequence[str] | None]) -> None:
        super().__init__()
        self.name, self.watches, self._of = name, watches, of

    def _compare(self, reference: Sample, window: Sample) -> Score | None:
        ours, theirs = self._of(reference), self._of(window)
        if ours is None or theirs is None:
            return None
        first, second = _counts(ours, theirs)
        size = float(self._divergence(first[None], second[None])[0])

        def by_chance(random: np.random.Generator, times: int) -> NDArray[np.float64]:
            drawn = random.multivariate_hypergeometric(first + second, int(second.sum()), size=times, method="marginals")
            return self._divergence(first + second - drawn, drawn)

        return Score(size, permutation_p_value(size, by_chance))

    @abstractmethod
    def _divergence(self, first: Counts, second: Counts) -> NDArray[np.float64]:
        """Return the divergence (t,) of ``t`` pairs of counts (t, c)."""


class PsiDetector(NameDetector):
    """The population stability index, ``Σ (q - p) ln(q / p)``: the symmetrised Kullback-Leibler divergence."""

    unit = "population stability index"
    source = "Yurdakul and Naranjo, Journal of Risk Model Validation 14 (2020)"

    def _divergence(self, first: Counts, second: Counts) -> NDArray[np.float64]:
        # Half a count more of each name (Jeffreys), or one that a sample lacks would make the index infinite.
        p, q = (_normalised(np.asarray(counts + 0.5, dtype=np.float64)) for counts in (first, second))
        return np.asarray(((q - p) * np.log(q / p)).sum(axis=1))


class JensenShannonDetector(NameDetector):
    """The Jensen-Shannon divergence in bits, 0 to 1: ``H((p + q) / 2) - (H(p) + H(q)) / 2``."""

    unit = "Jensen-Shannon divergence, bits"
    source = "Lin, IEEE Transactions on Information Theory 37 (1991)"

    def _divergence(self, first: Counts, second: Counts) -> NDArray[np.float64]:
        p, q = _normalised(first.astype(np.float64)), _normalised(second.astype(np.float64))
        return np.asarray(np.maximum(0.0, _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2))


def _counts(ours: Sequence[str], theirs: Sequence[str]) -> tuple[Counts, Counts]:
    first, second = Counter(ours), Counter(theirs)
    names = sorted({*first, *second})
    return (
        np.array([first[name] for name in names], dtype=np.int64),
        np.array([second[name] for name in names], dtype=np.int64),
    )


def _normalised(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-np.where(p > 0, p * np.log2(np.where(p > 0, p, 1.0)), 0.0).sum(axis=1))
