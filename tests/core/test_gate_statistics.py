"""The tests behind the gate's rules keep the level they say, against exact chances and by simulation."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from core.gate_statistics import least_gain, loss_bounds, mcnemar, more_than_chance, quantile, sign_flips, spending, sure_loss


@pytest.mark.parametrize(
    ("better", "worse", "chance"),
    [
        (0, 0, 1.0),
        (0, 5, 1.0),
        (1, 0, 0.5),
        (5, 0, 1 / 32),
        (10, 2, 79 / 4096),
        (15, 5, 21700 / 2**20),
    ],
)
def test_mcnemar_of_known_values(better: int, worse: int, chance: float) -> None:
    assert mcnemar(better, worse) == pytest.approx(chance, rel=1e-12)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_binomial_tail(better: int, worse: int) -> None:
    total = better + worse
    tail = sum(math.comb(total, wins) for wins in range(better, total + 1)) / 2**total
    assert mcnemar(better, worse) == pytest.approx(tail, rel=1e-9)
    assert mcnemar(better, worse) == pytest.approx(float(binom.sf(better - 1, total, 0.5)), rel=1e-9)


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_falls_with_wins_and_rises_with_losses(better: int, worse: int) -> None:
    assert mcnemar(better + 1, worse) <= mcnemar(better, worse) <= mcnemar(better, worse + 1)


@given(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=12))
def test_sign_flips_is_at_least_the_exact_chance(gains: list[float]) -> None:
    found = np.array(gains)
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * len(gains))).reshape(len(gains), -1).T
    exact = float((signs @ np.abs(found) >= found.sum() - 1e-9 * np.abs(found).sum()).mean())
    assert sign_flips(found) >= exact - 1e-9 or not found.any()


@pytest.mark.parametrize("heavy", [False, True])
def test_sign_flips_is_about_the_chance_of_many_rows_too(heavy: bool) -> None:
    random = np.random.default_rng(2)
    signs = np.where(random.random((40_000, 120)) < 0.5, 1.0, -1.0)
    seen = 0
    for _ in range(30):
        sizes = np.exp(1.5 * random.normal(size=120)) if heavy else np.abs(random.normal(size=120))
        gains = np.where(random.random(120) < 0.6, sizes, -sizes)
        drawn = float((signs @ sizes >= gains.sum()).mean())
        normal = NormalDist().cdf(-gains.sum() / np.sqrt((sizes**2).sum()))
        if 0.005 < drawn < 0.05:
            seen += 1
            assert max(drawn, normal) <= sign_flips(gains) <= max(1.5 * drawn, normal)
    assert seen >= 5


def test_sign_flips_of_equal_sizes_is_mcnemars_test() -> None:
    assert 1.0 < sign_flips(np.array([1.0] * 60 + [-1.0] * 40)) / mcnemar(60, 40) < 1.25
    assert 1.0 < sign_flips(np.array([1.0] * 130 + [-1.0] * 100)) / mcnemar(130, 100) < 1.25
    assert sign_flips(np.ones(200)) < 1e-30


def test_sign_flips_sees_what_right_and_wrong_do_not() -> None:
    random = np.random.default_rng(5)
    gains = random.normal(0.15, 0.5, size=200)
    assert sign_flips(gains) < 0.05
    # A tenth of them turn an answer, 6 points in favour: that is 13 to 7.
    assert mcnemar(13, 7) > 0.1


@pytest.mark.parametrize(("rows", "better", "worse"), [(200, 0.05, 0.05), (1000, 0.03, 0.04), (300, 0.01, 0.0), (60, 0.1, 0.1)])
def test_each_bound_of_a_loss_holds_as_often_as_it_says(rows: int, better: float, worse: float) -> None:
    random = np.random.default_rng(7)
    drawn = random.multinomial(rows, [better, worse, 1.0 - better - worse], size=2_000)
    bounds = np.array([loss_bounds(int(up), int(down), rows) for up, down, _ in drawn])
    assert (bounds[:, 0] <= worse - better).mean() >= 0.93
    assert (bounds[:, 1] >= worse - better).mean() >= 0.93


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 500))
def test_bounds_of_a_loss_hold_what_was_seen(better: int, worse: int, others: int) -> None:
    rows = better + worse + others
    low, high = loss_bounds(better, worse, rows)
    assert -1.0 <= low <= high <= 1.0
    if rows:
        assert low <= (worse - better) / rows + 0.5 / rows
        assert high >= (worse - better) / rows - 0.5 / rows


def test_all_looks_together_use_up_the_level_and_no_more() -> None:
    assert sum(spending(look) for look in range(1, 1_001)) == pytest.approx(1.0, abs=1e-3)
    assert sum(spending(look) for look in range(1, 1_001)) < 1.0


@given(st.lists(st.floats(0.01, 1.0), max_size=200))
def test_looks_of_any_weight_use_up_no_more(weights: list[float]) -> None:
    sums = np.cumsum(weights)
    shares = [spending(float(total), weight) for total, weight in zip(sums, weights, strict=True)]
    assert sum(shares) <= 1.0
    # In all as much as one look of all their weight.
    if weights:
        assert sum(shares) == pytest.approx(spending(float(sums[-1]), float(sums[-1])))


@given(st.integers(1, 200), st.integers(1, 30))
def test_the_least_gain_is_the_least_that_passes(discordant: int, look: int) -> None:
    level = 0.05 * spending(look)
    least = least_gain(discordant, 1_000, level)
    passing = [better for better in range(discordant + 1) if mcnemar(better, discordant - better) <= level]
    assert least == (None if not passing else (2 * passing[0] - discordant) / 1_000)


def test_what_any_other_model_would_put_right_is_no_wish_fulfilled() -> None:
    assert more_than_chance(10, 50, 20, 100) > 0.3
    assert more_than_chance(40, 50, 20, 100) < 1e-6
    # Where there is no error to compare with, a few are no evidence and many are.
    assert more_than_chance(3, 3, 0, 0) > 0.04
    assert more_than_chance(12, 12, 0, 0) < 0.005
    assert more_than_chance(0, 0, 5, 10) == 1.0


@pytest.mark.parametrize(("rows", "discordant"), [(300, 0.04), (300, 0.12), (1_000, 0.04), (1_000, 0.08), (3_000, 0.12)])
def test_a_loss_is_surely_less_as_often_as_is_said(rows: int, discordant: float) -> None:
    random = np.random.default_rng(11)
    better, worse = (discordant - 0.02) / 2, (discordant + 0.02) / 2
    drawn = random.multinomial(rows, [better, worse, 1.0 - discordant], size=20_000)
    kinds, counts = np.unique(drawn[:, :2], axis=0, return_counts=True)
    bounds = np.array([sure_loss(int(up), int(down), rows, quantile(0.001)) for up, down in kinds])
    # Twice in a thousand would be 5 standard deviations off.
    assert counts[bounds < 0.02].sum() / 20_000 <= 0.0018


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 900))
def test_the_bound_of_a_sure_loss_is_a_loss_no_less_than_what_was_seen(better: int, worse: int, others: int) -> None:
    rows = better + worse + others
    bound = sure_loss(better, worse, rows, quantile(0.001))
    assert (worse - better) / max(1, rows) <= bound <= 1.0
    assert sure_loss(better, worse + 1, rows + 1, quantile(0.001)) >= bound - 1e-9 or not rows
