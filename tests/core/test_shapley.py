"""Shapley values: exact where all subsets are at hand, efficient always, near the truth when sampled."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.shapley import plan_subsets, shapley_values


def _game(parts: int, seed: int) -> dict[int, float]:
    """Return the value of every subset: single effects, effects of pairs, and a little of everything."""
    random = np.random.default_rng(seed)
    single, pair = random.normal(size=parts), random.normal(scale=0.5, size=(parts, parts))
    values = {}
    for mask in range(1 << parts):
        members = [part for part in range(parts) if mask >> part & 1]
        values[mask] = float(single[members].sum() + pair[np.ix_(members, members)].sum() + 0.1 * random.normal())
    return values


def _by_definition(values: dict[int, float], parts: int) -> list[float]:
    totals = [0.0] * parts
    for order in itertools.permutations(range(parts)):
        mask = 0
        for part in order:
            totals[part] += values[mask | 1 << part] - values[mask]
            mask |= 1 << part
    return [total / math.factorial(parts) for total in totals]


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 6])
def test_all_subsets_give_the_mean_over_all_orders(parts: int) -> None:
    values = _game(parts, seed=parts)
    plan = plan_subsets(parts, 2**parts, seed=0)
    assert plan.exact
    assert shapley_values(plan, values) == pytest.approx(_by_definition(values, parts), abs=1e-12)


@given(st.integers(0, 10), st.integers(1, 300), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_values_sum_to_the_difference_within_the_budget(parts: int, evaluations: int, seed: int) -> None:
    values = _game(parts, seed % 1000)
    plan = plan_subsets(parts, evaluations, seed)
    assert len(set(plan.subsets)) == len(plan.subsets) <= max(evaluations, 2 * (parts - 1))
    assert not {0, plan.whole} & set(plan.subsets)
    needed = {mask: values[mask] for mask in [0, plan.whole, *plan.subsets]}
    assert math.fsum(shapley_values(plan, needed)) == pytest.approx(values[plan.whole] - values[0], abs=1e-9)


def test_a_part_that_changes_nothing_gets_nothing_and_equal_parts_get_the_same() -> None:
    values = {mask: float((mask & 0b011).bit_count() ** 2) for mask in range(8)}
    assert shapley_values(plan_subsets(3, 8, seed=0), values) == pytest.approx([2.0, 2.0, 0.0])


def test_orders_come_with_their_reverses_and_from_the_seed_alone() -> None:
    plan = plan_subsets(12, 100, seed=7)
    assert plan.orders
    assert not plan.exact
    assert [order[::-1] for order in plan.orders[::2]] == plan.orders[1::2]
    assert plan == plan_subsets(12, 100, seed=7)
    assert plan != plan_subsets(12, 100, seed=8)


def test_reversed_orders_make_additive_and_pairwise_effects_exact() -> None:
    # For effects of at most two parts, an order and its reverse credit each pair to both alike: there is nothing to sample.
    random = np.random.default_rng(0)
    pair = random.normal(size=(10, 10))

    def value(mask: int) -> float:
        members = [part for part in range(10) if mask >> part & 1]
        return float(pair[np.ix_(members, members)].sum())

    plan = plan_subsets(10, 18, seed=3)
    assert len(plan.orders) == 2
    expected = [pair[part, part] + (pair[part].sum() + pair[:, part].sum()) / 2 - pair[part, part] for part in range(10)]
    assert shapley_values(plan, {mask: value(mask) for mask in [0, plan.whole, *plan.subsets]}) == pytest.approx(expected)


def test_more_orders_come_nearer_to_the_truth() -> None:
    parts = 9
    values = {
        mask: float(np.tanh(bin(mask * 37 & 0x1FF).count("1") - 3)) + (mask & 1) * (mask >> 4 & 1) for mask in range(1 << parts)
    }
    truth = np.array(shapley_values(plan_subsets(parts, 1 << parts, seed=0), values))

    def error(evaluations: int) -> float:
        gaps = [np.array(shapley_values(plan_subsets(parts, evaluations, seed), values)) - truth for seed in range(40)]
        return float(np.sqrt(np.mean(np.square(gaps))))

    assert error(256) < 0.6 * error(32)
