"""`hone audit`: wrong labels in a data set are ranked first, from files as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import DataError
from core.settings import Settings
from tests.train.toys import toy_rows, write_csv, write_toy_base
from train.noise import NoiseRequest, audit


def test_flipped_labels_come_first(settings: Settings, tmp_path: Path) -> None:
    rows = toy_rows(180)
    flipped = {row.text: "calm" for row in rows if row.label == "angry"}
    wrong = set(list(flipped)[:12])
    file = write_csv(tmp_path / "rows.csv", [replace(row, label="calm") if row.text in wrong else row for row in rows])
    request = NoiseRequest(file, base=str(write_toy_base(tmp_path / "base")))
    report = audit(settings, request, most=18)
    assert report.rows == 180
    assert report.accuracy > 0.8
    assert len({row.text for row in report.doubtful} & wrong) >= 10
    worst = report.doubtful[0]
    assert (worst.given, worst.likely) == ("calm", "angry")
    assert worst.likely_probability > worst.given_probability


def test_too_little_to_judge_is_refused(settings: Settings, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "rows.csv", toy_rows(6))
    with pytest.raises(DataError, match="20 rows"):
        audit(settings, NoiseRequest(file))
    with pytest.raises(DataError, match="no base data"):
        audit(settings, NoiseRequest())
