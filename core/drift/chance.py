"""p-values by permutation, no more of them than are needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Enough to tell a p-value from the level of one detector in one window, which is about a thousandth.
MAX_PERMUTATIONS = 9_999
_FIRST = 199
# After the first permutations a p-value above this is told well enough: no window is decided there.
_PLAIN = 0.05
# Sizes that differ by rounding alone are equal.
_TOLERANCE = 1e-9


def permutation_p_value(size: float, by_chance: Callable[[np.random.Generator, int], NDArray[np.float64]]) -> float:
    """Return the p-value of ``size`` among those that ``by_chance`` draws under no difference: ``(1 + b) / (1 + t)``.

    Of ``t`` draws ``b`` are as large; so it is never 0 (Phipson and Smyth, Statistical Applications in Genetics and Molecular
    Biology 9, 2010). Drawing stops early where the first 199 leave no doubt. Draws are
    seeded: the same samples, the same value.
    """
    random = np.random.default_rng(0)
    larger, drawn = _larger(size, by_chance(random, _FIRST)), _FIRST
    if (1 + larger) / (1 + drawn) <= _PLAIN:
        larger += _larger(size, by_chance(random, MAX_PERMUTATIONS - _FIRST))
        drawn = MAX_PERMUTATIONS
    return (1 + larger) / (1 + drawn)


def _larger(size: float, sizes: NDArray[np.float64]) -> int:
    return int((sizes >= size - _TOLERANCE).sum())
