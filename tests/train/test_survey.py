"""What a file is like: counted, compared and drawn without training anything."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.errors import DataError
from train.survey import DataSurvey, survey
from train.survey_page import survey_page

_LONG = "the parcel that I ordered a week ago has still not been handed over to me"


def _write(path: Path, rows: Sequence[tuple[str, str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("text", "label", "split"), *rows])
    return path


@pytest.fixture
def found(tmp_path: Path, toy_folder: Path) -> DataSurvey:
    rows = [(f"{word} card number {n}", "card", "train") for n in range(30) for word in ("my", "the")]
    rows += [(f"where is order {n}", "order", "train") for n in range(6)]
    rows += [(f"где мой заказ номер {n} пожалуйста", "order", "test") for n in range(40)]
    rows += [(f"which order is it, {n}", "order", "validation") for n in range(2)]
    rows += [(_LONG, "order", "train"), (f"{_LONG}!?", "card", "test")]
    rows += [("MY card number 1", "card", "test"), ("my card number 2", "order", "train"), ("", "card", "train")]
    return survey(_write(tmp_path / "rows.csv", rows), base=str(toy_folder))


def test_labels_and_their_imbalance_are_counted(found: DataSurvey) -> None:
    assert {label.label: label.by_split for label in found.labels} == {
        "card": {"train": 59, "test": 1},
        "order": {"train": 7, "validation": 2, "test": 40},
    }
    assert found.imbalance is not None
    assert (found.imbalance.largest, found.imbalance.smallest, found.imbalance.few) == ("card", "order", ["order"])
    assert found.imbalance.ratio == pytest.approx(59 / 7)
    assert 1.0 < found.imbalance.effective_labels < 2.0


def test_duplicates_leaks_and_contradictions_are_found_with_their_rows(found: DataSurvey) -> None:
    kinds = {finding.what for finding in found.cleaning.findings}
    assert {"text stands in two splits", "same text, contradicting labels, no majority", "empty text"} <= kinds
    near = found.near_duplicates
    assert (near.across_splits, near.contradicting) == (1, 1)
    assert (near.shown[0].label, near.shown[0].other_label) == ("order", "card")


def test_lengths_unknown_tokens_and_languages_differ_by_split(found: DataSurvey) -> None:
    train, _, test = found.parts
    assert (train.split, test.split) == ("train", "test")
    assert train.words.median == 4
    assert sum(train.word_lengths.values()) == train.rows
    assert test.unknown_token_ratio > 0.4 > train.unknown_token_ratio
    assert train.new_word_ratio is None
    assert test.new_word_ratio is not None
    assert test.new_word_ratio > 0.5
    assert max(test.languages, key=test.languages.__getitem__) == "ru"
    assert train.shifts == []
    p_values = {shift.what: shift.p_value for shift in test.shifts}
    assert p_values["label_js"] < 0.01
    assert p_values["language"] < 0.01


def test_the_page_needs_no_other_file_and_runs_nothing(found: DataSurvey, tmp_path: Path) -> None:
    path = survey_page(found).save(tmp_path / "deep" / "page.html")
    text = path.read_text(encoding="utf-8")
    assert text.count("<svg") == 2
    assert not re.search(r"<script|<link|src=|url\(http", text)
    assert survey_page(found).render() == text, "the same numbers are the same page"


def test_labels_are_escaped(tmp_path: Path, toy_folder: Path) -> None:
    label = "<script>alert($1$)</script>"
    rows = [(f"card {n}", (label, "b")[n % 2], "train") for n in range(20)]
    page = survey_page(survey(_write(tmp_path / "a.csv", rows), base=str(toy_folder))).render()
    assert "<script" not in page
    assert "&lt;script&gt;alert($1$)" in page


def test_a_file_without_training_rows_has_a_report_too(tmp_path: Path, toy_folder: Path) -> None:
    rows = [(f"card {n}", "a", "test") for n in range(40)]
    found = survey(_write(tmp_path / "a.csv", rows), base=str(toy_folder))
    assert found.imbalance is None
    assert [part.shifts for part in found.parts] == [[]]
    survey_page(found).render()


def test_a_place_that_cannot_be_written_is_named(found: DataSurvey, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        survey_page(found).save(tmp_path / "file" / "page.html")
