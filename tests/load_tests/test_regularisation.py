"""What the choice of the penalty is judged by: rows that neither head learned."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from core.settings import Settings
from load_tests.regularisation import compare


def test_each_kind_of_features_is_judged_with_both_penalties(tmp_path: Path) -> None:
    settings = Settings.model_validate({"HONE_HOME": tmp_path})
    settings.home.prepare()
    words = ("good fine nice", "bad poor worn")
    rows = [(f"{words[number % 2]} number {number}", ("yes", "no")[number % 2]) for number in range(500)]
    found = list(compare("toy", pd.DataFrame(rows, columns=["text", "label"]), 400, 0, settings))
    assert [outcome.features for outcome in found] == ["encoder", "ngrams", "both"]
    for outcome in found:
        assert (outcome.rows, outcome.labels) == (400, 2)
        assert outcome.usual_accuracy > 0.9
        assert outcome.chosen_accuracy > 0.9
        # What is told apart at once may be told apart more clearly still.
        assert outcome.chosen >= 10.0
