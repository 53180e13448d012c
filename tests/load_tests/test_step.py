"""What a run of steps comes to, from what was seen."""

from __future__ import annotations

from typing import Any

import pytest

from load_tests.step import Step, account, conclude

BUSY = Step(24, 60.0, range(2, 4))


def came_to(by_status: dict[str, int], replicas: int) -> dict[str, Any]:
    return account(BUSY, {"by_status": by_status, "latency_ms": {"p50": 3.0}}, replicas)


@pytest.mark.parametrize(("replicas", "followed"), [(1, False), (2, True), (3, True), (4, False)])
def test_a_step_is_followed_by_as_many_replicas_as_it_asks_for(replicas: int, followed: bool) -> None:
    assert came_to({"200": 9}, replicas)["followed"] is followed


def test_whatever_is_no_answer_is_a_failure() -> None:
    step = came_to({"200": 90, "429": 3, "503": 2, "0": 1}, 2)
    assert (step["requests"], step["failed"]) == (96, 6)


def test_a_run_counts_every_step_and_names_the_moments_of_change() -> None:
    steps = [came_to({"200": 10}, 2), came_to({"200": 20, "503": 1}, 3)]
    report = conclude(steps, [(1.0, 1), (2.0, 1), (3.1, 2), (4.1, 2), (5.2, 1)])
    assert (report["requests"], report["failed"], report["followed"]) == (31, 1, True)
    assert report["changes"] == [(3.1, 2), (5.2, 1)]


def test_one_step_that_replicas_did_not_follow_is_one_too_many() -> None:
    assert conclude([came_to({"200": 10}, 2), came_to({"200": 10}, 1)], [])["followed"] is False
