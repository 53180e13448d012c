"""What a run comes to, by hand-made requests."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_tests.samples import UNANSWERED, Samples, latency_summary


@given(st.lists(st.floats(0, 100), min_size=1, max_size=200))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(latency_s: list[float]) -> None:
    found = latency_summary(latency_s)
    assert found is not None
    ranked = sorted(latency_s)
    for share in (50, 90, 95, 99):
        needed = -(-share * len(ranked) // 100)
        assert found[f"p{share}"] == pytest.approx(1e3 * ranked[needed - 1], abs=1e-3)
    assert found["max"] == pytest.approx(1e3 * ranked[-1], abs=1e-3)


def test_nothing_has_no_latency() -> None:
    assert latency_summary([]) is None
    assert Samples().summary(from_s=0, to_s=1)["requests"] == 0


@pytest.fixture
def samples() -> Samples:
    """Give a warm-up, two answers, two refusals (one without Retry-After), and one request that was never answered."""
    made = Samples()
    made.add(0.5, 9.0, 200)
    made.add(1.0, 0.010, 200, late_s=0.001)
    made.add(1.5, 0.030, 200)
    made.add(1.6, 0.001, 429, retry_after=True)
    made.add(1.7, 0.002, 429)
    made.add(1.8, 15.0, UNANSWERED)
    return made


def test_only_what_is_due_in_the_window_counts(samples: Samples) -> None:
    found = samples.summary(from_s=1, to_s=2)
    assert found["requests"] == 5
    assert found["by_status"] == {"0": 1, "200": 2, "429": 2}
    assert found["refused_with_retry_after"] == 1
    assert found["latency_ms"]["max"] == 30.0
    assert found["refusal_ms"]["max"] == 2.0
    assert found["generator_late_ms"]["max"] == 1.0


def test_the_rate_counts_answers_by_when_they_came(samples: Samples) -> None:
    # The one of the warm-up came long after the window.
    assert samples.summary(from_s=1, to_s=2)["answered_per_s"] == 2.0
    assert samples.summary(from_s=9, to_s=10)["answered_per_s"] == 1.0


def test_every_request_is_kept(samples: Samples, tmp_path: Path) -> None:
    samples.save(tmp_path / "requests.csv")
    with (tmp_path / "requests.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["200", "200", "200", "429", "429", "0"]
    assert rows[1] == {"due_s": "1.0", "latency_ms": "10.0", "late_ms": "1.0", "status": "200", "retry_after": "0"}
