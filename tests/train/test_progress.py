"""Progress of stages as progress of the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RunCancelled
from train.progress import Pace, Progress, Stages, pace_of, silent

_WEIGHTS = {"load": 1.0, "fit": 2.0, "measure": 1.0}


def test_stages_count_by_their_weight() -> None:
    heard: list[Progress] = []
    stages = Stages(_WEIGHTS, heard.append)
    stages.at("load")
    stages.at("load", 0.5)
    stages.at("fit", 0.5, pace=Pace(0.25, 7.0, 3, 8))
    stages.at("measure", 1.0)
    assert [(moment.stage, moment.ratio) for moment in heard] == [
        ("load", 0.0),
        ("load", 0.125),
        ("fit", 0.5),
        ("measure", 1.0),
    ]
    assert heard[2].pace == Pace(loss=0.25, examples_per_s=7.0, step=3, steps=8)
    assert pace_of({"loss": 0.25, "examples_per_s": 7.0, "step": 3.0, "steps": 8.0, "rows": 1.0}) == heard[2].pace
    assert pace_of({"loss": 0.25}) is None
    assert heard[0].remaining_s is None
    assert heard[-1].remaining_s == 0.0


@given(st.lists(st.tuples(st.sampled_from(list(_WEIGHTS)), st.floats(0.0, 2.0))))
def test_progress_never_falls_and_stays_within_one(moments: list[tuple[str, float]]) -> None:
    heard: list[Progress] = []
    stages = Stages(_WEIGHTS, heard.append)
    for stage, ratio in moments:
        stages.at(stage, ratio)
    ratios = [moment.ratio for moment in heard]
    assert ratios == sorted(ratios)
    assert all(0.0 <= ratio <= 1.0 for ratio in ratios)


def test_a_wish_to_stop_is_heard_before_anything_is_reported() -> None:
    heard: list[Progress] = []
    with pytest.raises(RunCancelled, match="at: fit"):
        Stages(_WEIGHTS, heard.append, cancelled=lambda: True).at("fit")
    assert heard == []


def test_nobody_may_listen() -> None:
    Stages(_WEIGHTS, silent).at("fit", 0.5)
