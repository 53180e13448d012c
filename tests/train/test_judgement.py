"""The full report of a version: on rows it did not learn, beside the floor, by slice, with its thresholds."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import DataError, UnknownVersion
from core.settings import Settings
from tests.train.toys import Row, toy_rows, write_csv
from train.judgement import Judgement, JudgeRequest, judge
from train.judgement_page import judgement_page
from train.teach import TeachReport


@pytest.fixture(scope="module")
def judged(taught_once: tuple[Settings, TeachReport], toy_file: Path) -> Judgement:
    return judge(taught_once[0], JudgeRequest("champion", toy_file))


def test_what_is_told_agrees_with_what_was_measured_when_it_was_made(
    judged: Judgement, taught_once: tuple[Settings, TeachReport]
) -> None:
    measured = taught_once[1].metrics
    assert judged.version == "v1"
    assert judged.accuracy.value == pytest.approx(measured["accuracy"], abs=0.02)
    assert judged.averages["macro_f1"].value == pytest.approx(measured["macro_f1"], abs=0.02)
    assert judged.calibration.ece == pytest.approx(measured["ece"], abs=0.02)
    assert judged.evaluation.rows == 60
    assert judged.areas is not None
    assert judged.areas.roc_auc_macro > 0.9
    assert set(judged.recalls) == {"angry", "calm", "lost"}
    assert {item.min_score is None for item in judged.thresholds} <= {True, False}
    assert [item.chosen_on_rows for item in judged.thresholds] == [60] * 3


def test_the_floor_stands_beside_it_with_its_cost(judged: Judgement) -> None:
    floor = judged.floor
    assert floor is not None
    assert floor.ngrams > 10
    assert floor.better - floor.worse == round(60 * (judged.accuracy.value - floor.accuracy.value))
    assert floor.gain.low <= floor.gain.value <= floor.gain.high
    assert 0 < floor.cost.served_bytes < judged.cost.served_bytes


def test_rows_that_it_learned_are_left_out(taught: Settings, toy_file: Path) -> None:
    found = judge(taught, JudgeRequest("v1", toy_file, split="all"))
    assert (found.evaluation.rows, found.learned_rows) == (60, 180)
    with pytest.raises(DataError, match="has learned all of them"):
        judge(taught, JudgeRequest("v1", toy_file, split="train"))


def test_columns_and_terms_become_slices(taught: Settings, tmp_path: Path) -> None:
    rows = [row for row in toy_rows(500, seed=9) if row.split == "test"]
    path = tmp_path / "sliced.csv"
    lines = [f"{row.text},{row.label},{'north' if n % 2 else 'south'}" for n, row in enumerate(rows)]
    path.write_text("\n".join(["text,label,region", *lines]), encoding="utf-8")
    terms = tmp_path / "terms.json"
    terms.write_text(json.dumps({"a": ["card"], "b": ["phone"]}), encoding="utf-8")
    found = judge(taught, JudgeRequest("v1", path, slice_by=("region",), terms=terms))
    names = {item.name for item in found.slices}
    assert {"region north", "region south", "mentions a", "mentions b"} <= names
    assert {(item.group, item.into) for item in found.swaps} == {("a", "b"), ("b", "a")}
    with pytest.raises(DataError, match="no column 'shop'"):
        judge(taught, JudgeRequest("v1", path, slice_by=("shop",)))


def test_rows_of_a_label_it_never_knew_are_told_by_a_threshold(taught: Settings, tmp_path: Path) -> None:
    outside = [Row(f"zz qq {n} xx", "none", "validation" if n % 2 else "test") for n in range(60)]
    path = write_csv(tmp_path / "scope.csv", [*toy_rows(), *outside])
    found = judge(taught, JudgeRequest("v1", path, out_of_scope="none"))
    assert found.scope is not None
    assert found.scope.chosen_on == {"in scope": 60, "out of scope": 30}
    assert (found.scope.in_scope_rows, found.scope.out_of_scope_rows) == (60, 30)
    assert found.scope.measured.out_of_scope_recall > 0.8
    assert "Out of scope" in judgement_page(found).render()
    with pytest.raises(DataError, match="'absent'"):
        judge(taught, JudgeRequest("v1", path, out_of_scope="absent"))


def test_a_label_it_knows_may_be_the_one_out_of_scope(taught: Settings, toy_file: Path) -> None:
    found = judge(taught, JudgeRequest("v1", toy_file, out_of_scope="lost", in_scope_accuracy=0.5))
    assert found.scope is not None
    assert (found.scope.in_scope_rows, found.scope.out_of_scope_rows) == (40, 20)
    assert found.scope.reached


def test_without_what_it_learned_there_is_no_floor_but_a_reason(taught: Settings, toy_file: Path) -> None:
    for path in taught.home.snapshots.iterdir():
        path.unlink()
    found = judge(taught, JudgeRequest("v1", toy_file))
    assert found.floor is None
    assert found.floor_missing is not None
    assert "cannot be read" in judgement_page(found).render()


def test_the_page_needs_no_other_file(judged: Judgement) -> None:
    page = judgement_page(judged).render()
    assert page.count("<svg") == 6
    assert not re.search(r"<script|<link|src=|NaN", page)
    assert "Beside the linear floor" in page


def test_labels_the_version_does_not_know_are_counted(taught: Settings, tmp_path: Path) -> None:
    rows = [replace(row, label="furious") if row.label == "angry" else row for row in toy_rows()]
    found = judge(taught, JudgeRequest("v1", write_csv(tmp_path / "other.csv", rows)))
    assert (found.evaluation.rows, found.evaluation.unknown_labels) == (40, 20)


def test_a_version_that_is_not_there_is_named(taught: Settings, toy_file: Path) -> None:
    with pytest.raises(UnknownVersion):
        judge(taught, JudgeRequest("v9", toy_file))
