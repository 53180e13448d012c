"""A curve of any length is kept in a bounded number of points that lie equally far apart."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from train.curve import MOST_POINTS, Curve


@given(st.integers(0, 3000))
def test_points_are_bounded_and_equally_far_apart(steps: int) -> None:
    curve = Curve()
    for step in range(steps):
        curve.add(step / 10_000, float(step), 100.0)
    losses = [point.loss for point in curve.points]
    assert len(losses) <= MOST_POINTS
    assert len(losses) >= min(steps, MOST_POINTS // 2)
    assert len({after - before for before, after in pairwise(losses)}) <= 1
    assert losses[:1] == [0.0][:steps]


def test_a_loss_that_is_no_number_is_left_out() -> None:
    curve = Curve()
    curve.add(0.1, float("nan"), None)
    curve.add(0.2, 1.0, None)
    assert [point.loss for point in curve.points] == [1.0]
