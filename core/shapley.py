"""Shapley values of the parts of a text: what each adds to the score, averaged over the orders in which parts can be put in.

For one order, each part is credited with the change it makes when it joins those before it; these changes telescope, so they
sum to the whole text's value less the empty text's, exactly, and so does their mean over any orders. Orders are sampled, each
with its reverse, which halves the variance or better where effects are near additive. Where all subsets can be
evaluated at no more cost, the mean over all orders is computed instead.

Sources: E. Štrumbelj, I. Kononenko, "Explaining prediction models and individual predictions with feature contributions",
Knowledge and Information Systems 41 (2014), 647-665; R. Mitchell et al., "Sampling permutations for Shapley value estimation",
Journal of Machine Learning Research 23 (2022), for the reversed orders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SOURCE = (
    "E. Štrumbelj, I. Kononenko: Explaining prediction models and individual predictions with feature contributions. "
    "Knowledge and Information Systems 41 (2014), 647–665. doi:10.1007/s10115-013-0679-x"
)


@dataclass(frozen=True)
class Plan:
    """Which subsets of ``parts`` parts to evaluate, as bit masks; ``orders`` is empty where that is all of them.

    The empty subset and the whole are never among ``subsets``: every plan needs both.
    """

    parts: int
    subsets: Sequence[int]
    orders: Sequence[Sequence[int]]

    @property
    def whole(self) -> int:
        """The mask of all parts."""
        return (1 << self.parts) - 1

    @property
    def exact(self) -> bool:
        """Whether the values will be the Shapley values themselves, not estimates."""
        return not self.orders


def plan_subsets(parts: int, evaluations: int, seed: int) -> Plan:
    """Return a plan that takes at most ``evaluations`` evaluations, or as many as one order and its reverse take.

    >>> plan_subsets(2, 10, seed=0).subsets
    [1, 2]
    """
    if parts < 2 or (1 << parts) - 2 <= evaluations:
        return Plan(parts, list(range(1, (1 << parts) - 1)), [])
    random = np.random.default_rng(seed)
    orders: list[list[int]] = []
    for _ in range(max(1, evaluations // (2 * (parts - 1)))):
        order = random.permutation(parts).tolist()
        orders += [order, order[::-1]]
    prefixes = [mask for order in orders for mask in _prefixes(order)[1:-1]]
    return Plan(parts, list(dict.fromkeys(prefixes)), orders)


def shapley_values(plan: Plan, values: Mapping[int, float]) -> list[float]:
    """Return the value of each part, given those of every subset of ``plan``, of the empty one and of the whole.

    They sum to ``values[plan.whole] - values[0]``.

    >>> shapley_values(plan_subsets(2, 10, seed=0), {0: 0.0, 1: 1.0, 2: 2.0, 3: 5.0})
    [2.0, 3.0]
    """
    if plan.exact:
        return [_exact(plan, part, values) for part in range(plan.parts)]
    totals = [0.0] * plan.parts
    for order in plan.orders:
        masks = _prefixes(order)
        for part, before, after in zip(order, masks, masks[1:], strict=False):
            totals[part] += values[after] - values[before]
    return [total / len(plan.orders) for total in totals]


def _exact(plan: Plan, part: int, values: Mapping[int, float]) -> float:
    others = [mask for mask in range(plan.whole + 1) if not mask >> part & 1]
    # The share of orders in which just these parts come before this one.
    shares = [1.0 / (plan.parts * math.comb(plan.parts - 1, mask.bit_count())) for mask in others]
    return math.fsum(share * (values[mask | 1 << part] - values[mask]) for mask, share in zip(others, shares, strict=True))


def _prefixes(order: Sequence[int]) -> list[int]:
    """Return the masks of the first 0, 1, … parts of ``order``."""
    masks = [0]
    for part in order:
        masks.append(masks[-1] | 1 << part)
    return masks
