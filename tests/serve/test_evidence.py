"""Evidence that may be looked at at any time: seldom wrong where nothing is wrong, soon right where something is."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.evidence import log_evidence


def _first_alarm(hits: np.ndarray[tuple[int], np.dtype[np.bool_]], limit: float, needed: float) -> int | None:
    """Return after how many trials the evidence sufficed, looked at after every one."""
    count = 0
    for trial, hit in enumerate(hits.tolist(), 1):
        count += hit
        if log_evidence(count, trial, limit) >= needed:
            return trial
    return None


@pytest.mark.parametrize("limit", [0.01, 0.1, 0.5])
def test_a_share_at_its_limit_raises_an_alarm_no_more_often_than_alpha(limit: float) -> None:
    # The worst that is still allowed, looked at after each of 400 trials, in 300 runs; 5% would be 15 of them.
    runs = np.random.default_rng(7).random((300, 400)) < limit
    alarms = sum(_first_alarm(hits, limit, log(1 / 0.05)) is not None for hits in runs)
    assert alarms <= 15


@pytest.mark.parametrize(("limit", "share", "within"), [(0.01, 1.0, 3), (0.01, 0.2, 60), (0.1, 0.5, 60), (0.5, 0.9, 60)])
def test_a_share_far_above_its_limit_is_found_soon(limit: float, share: float, within: int) -> None:
    runs = np.random.default_rng(8).random((50, 400)) < share
    alarms = [_first_alarm(hits, limit, log(1 / 0.01)) for hits in runs]
    assert all(alarm is not None for alarm in alarms)
    assert float(np.median([alarm or 0 for alarm in alarms])) <= within


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.0, 1.0))
def test_it_is_a_finite_number_that_rises_with_every_hit(hits: int, misses: int, limit: float) -> None:
    trials = hits + misses
    evidence = log_evidence(hits, trials, limit)
    assert np.isfinite(evidence)
    assert log_evidence(hits + 1, trials + 1, limit) >= evidence
    assert log_evidence(hits, trials + 1, limit) <= evidence


def test_a_limit_of_one_is_never_passed() -> None:
    assert log_evidence(1_000, 1_000, 1.0) == 0.0
