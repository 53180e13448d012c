"""Cross-validation of a way of teaching: every row outside the test part is left out once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import DataError
from core.registry import Registry
from core.settings import Settings
from tests.train.toys import toy_rows, write_csv
from train.folds import cross_validate
from train.teach import TeachRequest


def test_every_row_but_the_test_rows_is_measured_once(settings: Settings, toy_file: Path, toy_folder: Path) -> None:
    heard: list[float] = []
    request = TeachRequest(data=toy_file, base=str(toy_folder))
    report = cross_validate(settings, request, 3, lambda progress: heard.append(progress.ratio))
    assert [fold.rows for fold in report.folds] == [60, 60, 60]
    assert report.labels == 3
    accuracies = [fold.metrics["accuracy"] for fold in report.folds]
    found = report.metrics["accuracy"]
    assert (found.low, found.high) == (min(accuracies), max(accuracies))
    assert found.mean > 0.8
    assert all(fold.floor_accuracy is not None for fold in report.folds)
    assert heard == sorted(heard)
    assert Registry(settings.home.registry).versions() == []
    assert list(settings.home.runs.iterdir()) == [], "no fold leaves a bundle behind"


def test_the_same_seed_gives_the_same_folds(settings: Settings, toy_file: Path) -> None:
    request = TeachRequest(data=toy_file, features="ngrams", seed=4)
    first, again = (cross_validate(settings, request, 4) for _ in range(2))
    assert [fold.metrics for fold in first.folds] == [fold.metrics for fold in again.folds]


def test_the_share_that_chooses_is_the_one_asked_for(settings: Settings, tmp_path: Path) -> None:
    rows = [replace(row, label="sun") if place % 4 == 0 else row for place, row in enumerate(toy_rows())]
    request = TeachRequest(data=write_csv(tmp_path / "doubtful.csv", rows), features="ngrams", validation_ratio=0.4)
    few = cross_validate(settings, request, 3)
    usual = cross_validate(settings, replace(request, validation_ratio=None), 3)
    assert [fold.rows for fold in few.folds] == [fold.rows for fold in usual.folds]
    assert few.metrics["log_loss"].mean != usual.metrics["log_loss"].mean, "heads are chosen on other rows"


def test_too_few_rows_are_refused(settings: Settings, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "few.csv", [row for row in toy_rows(12) if row.split == "train"][:5])
    with pytest.raises(DataError, match="outside its test part; 10 folds need 20"):
        cross_validate(settings, TeachRequest(data=path, features="ngrams"), 10)
    path = write_csv(tmp_path / "rare.csv", toy_rows(30))
    with pytest.raises(DataError, match="no label has"):
        cross_validate(settings, TeachRequest(data=path, features="ngrams"), 9)
