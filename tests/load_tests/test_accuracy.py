"""The measurement of accuracy: every version on the same test rows, nothing chosen by them, and a bar that can be missed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.settings import Settings
from load_tests.accuracy import Outcome, Plan, judge, summary
from tests.train.toys import toy_rows, write_csv, write_toy_base
from train.request import FinetuneSettings
from train.teach import TeachRequest, teach

_OUTCOME = Outcome("v1", "full", 0, 0.9, 0.94, 0.941, "full", 1.0, 1.0)


@pytest.mark.parametrize(("bar", "reached"), [(0.945, True), (0.95, False), (None, None)])
def test_the_mean_over_seeds_meets_the_bar_and_ensembles_do_not_count(bar: float | None, reached: bool | None) -> None:
    outcomes = [
        _OUTCOME,
        replace(_OUTCOME, seed=1, accuracy=0.95),
        replace(_OUTCOME, seed=None, made="soup of v1 v2", accuracy=0.99),
    ]
    found = summary(outcomes, bar)
    assert (found["mean"], found["low"], found["high"], found["reached"]) == (0.945, 0.94, 0.95, reached)
    assert found["recall_at_threshold"] is None


def test_rows_out_of_scope_are_told_from_the_others_at_a_threshold_of_validation_rows(tmp_path: Path) -> None:
    settings = Settings.model_validate({"HONE_HOME": tmp_path / "home"})
    data = write_csv(tmp_path / "toy.csv", toy_rows())
    base = str(write_toy_base(tmp_path / "toy"))
    teach(settings, TeachRequest(data=data, base=base, features="both", promote=False))
    found = judge(settings, "v1", Plan(data, FinetuneSettings(), "lost", None))
    assert found["accuracy"] is not None
    assert found["accuracy"] > 0.9
    assert found["recall"] is not None
    assert found["recall"] > 0.9
    plain = judge(settings, "v1", Plan(data, FinetuneSettings(), None, None))
    assert "recall" not in plain
