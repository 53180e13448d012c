"""What becomes of doubtful rows: counted, named by row, decided the same way whatever their order."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DataError
from core.text import TextSettings, split_of, text_key
from feedback.snapshot import Example
from train.cleaning import DataReport, Finding, to_examples
from train.reading import Table, read_table

_SETTINGS = TextSettings.model_validate({})


def _table(rows: Sequence[tuple[object, ...]]) -> Table:
    """Return a table of (text, label) or (text, label, split)."""
    columns = ["text", "label", "split"][: len(rows[0])]
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    return Table("reviews.csv", frame, "text", "label", "split" if len(columns) == 3 else None, "utf-8")


def _examples(rows: Sequence[tuple[object, ...]]) -> tuple[list[Example], DataReport]:
    return to_examples(_table(rows), _SETTINGS)


def _found(report: DataReport, what: str) -> Finding:
    (finding,) = [finding for finding in report.findings if finding.what == what]
    return finding


# Rows that are always there: two to train on, and one in each other split, so that no training text is moved there.
_SOUND: list[tuple[object, ...]] = [
    ("sound and good", "yes", "train"),
    ("sound and bad", "no", "train"),
    ("sound and chosen by", "yes", "validation"),
    ("sound and held out", "no", "test"),
]
_SOUND_TEXTS = {text for text, _, _ in _SOUND}


def test_empty_rows_and_rows_without_a_label_are_dropped() -> None:
    rows = [
        ("", "yes"),
        (" \u200b\t", "yes"),
        (None, "no"),
        ("<br/>", "no"),
        ("kept", math.nan),
        ("kept", " "),
        ("kept", pd.NA),
    ]
    examples, report = _examples([*((*row, "train") for row in rows), *_SOUND])
    assert {example.text for example in examples} == _SOUND_TEXTS
    empty, bare = _found(report, "empty text"), _found(report, "no label")
    assert (empty.count, empty.action, empty.rows) == (4, "dropped", [1, 2, 3, 4])
    assert (bare.count, bare.action, bare.rows) == (3, "dropped", [5, 6, 7])
    assert (report.rows, report.examples) == (11, 4)


def test_text_and_labels_that_no_file_can_keep_are_dropped() -> None:
    rows = [("a\x00b", "yes", "train"), ("a\ud800b", "yes", "train"), ("fine", "ye\udfffs", "train"), *_SOUND]
    examples, report = _examples(rows)
    assert {example.text for example in examples} == _SOUND_TEXTS
    assert _found(report, "NUL or lone surrogate in text").rows == [1, 2]
    assert _found(report, "NUL or lone surrogate in label").rows == [3]


def test_a_report_names_the_first_rows_and_counts_all() -> None:
    _, report = _examples([*((" ", "yes", "train"),) * 30, *_SOUND])
    finding = _found(report, "empty text")
    assert finding.count == 30
    assert finding.rows == list(range(1, len(finding.rows) + 1))
    assert len(finding.rows) < 30


def test_labels_that_differ_in_spaces_or_case_become_the_commonest() -> None:
    labels = ["Very Good", "Very Good", " Very  Good ", "very good", "VERY\tGOOD", "bad"]
    examples, report = _examples([(f"text {place}", label, "train") for place, label in enumerate(labels)])
    assert {example.label for example in examples} == {"Very Good", "bad"}
    finding = _found(report, "label differs in case only")
    assert (finding.count, finding.rows) == (2, [4, 5])
    assert "'Very Good'" in finding.action


def test_a_tie_between_spellings_does_not_depend_on_the_order() -> None:
    rows: list[tuple[object, ...]] = [("a", "Good", "train"), ("b", "good", "train"), ("c", "bad", "train")]
    assert {e.label for e in _examples(rows)[0]} == {e.label for e in _examples(rows[::-1])[0]}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([0, 1, 1], {"0", "1"}),
        ([0.0, 1.0, None], {"0", "1"}),
        ([0.5, 1.0, 1.0], {"0.5", "1"}),
        ([True, False, True], {"True", "False"}),
        (pd.array([0, 1, None], dtype="Int64"), {"0", "1"}),
        (pd.array(["a", "b", None], dtype="string"), {"a", "b"}),
        (pd.array([True, False, None], dtype="boolean"), {"True", "False"}),
        (pd.Categorical(["a", "b", None]), {"a", "b"}),
    ],
)
def test_labels_of_other_types_get_names(tmp_path: Path, labels: Any, names: set[str]) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"text": ["one", "two", "three"], "label": labels, "split": "train"}).to_parquet(path)
    examples, _ = to_examples(read_table(path), _SETTINGS)
    assert {example.label for example in examples} == names


def test_of_equal_texts_one_is_kept() -> None:
    rows = [("Same text", "yes", "train"), ("same  TEXT", "yes", "train"), ("<b>Same</b> text", "yes", "train"), *_SOUND]
    examples, report = _examples(rows)
    assert sum(example.text_key == text_key("same text") for example in examples) == 1
    finding = _found(report, "duplicate text")
    assert (finding.count, finding.action) == (2, "one kept")
    assert set(finding.rows) < {1, 2, 3}


def test_where_equal_texts_disagree_the_majority_decides() -> None:
    rows = [("same", "no", "train"), ("Same", "yes", "train"), ("SAME", "yes", "train"), *_SOUND]
    examples, report = _examples(rows)
    assert [example.label for example in examples if example.text_key == text_key("same")] == ["yes"]
    finding = _found(report, "same text, contradicting labels")
    assert (finding.count, finding.action, finding.rows) == (1, "majority kept", [1])


@pytest.mark.parametrize("labels", [["yes", "no"], ["yes", "no", "yes", "no", "perhaps"]])
def test_a_tie_drops_the_text(labels: list[str]) -> None:
    rows = [("same", label, "train") for label in labels]
    examples, report = _examples([*rows, *_SOUND, ("other", "perhaps", "train")])
    assert text_key("same") not in {example.text_key for example in examples}
    finding = _found(report, "same text, contradicting labels, no majority")
    assert (finding.count, finding.action) == (len(labels), "dropped")


def test_a_text_in_two_splits_stays_in_training_with_its_label_there() -> None:
    rows = [("same", "no", "train"), ("same", "no", "train"), ("Same", "yes", "test"), *_SOUND]
    examples, report = _examples(rows)
    (same,) = [example for example in examples if example.text_key == text_key("same")]
    assert (same.split, same.label) == ("train", "no")
    finding = _found(report, "text stands in two splits")
    assert (finding.count, finding.action, finding.rows) == (1, "kept in train only", [3])


def test_splits_are_known_by_their_usual_names() -> None:
    names = {
        "training": "train",
        " Train ": "train",
        "dev": "validation",
        "VAL": "validation",
        "eval": "test",
        "holdout": "test",
    }
    rows = [(f"text {place}", ["yes", "no"][place % 2], name) for place, name in enumerate(names)]
    examples, report = _examples(rows)
    assert {example.text: example.split for example in examples} == {
        f"text {place}": split for place, split in enumerate(names.values())
    }
    assert report.split_from == "column"


def test_an_unknown_split_name_leaves_the_decision_to_the_hash() -> None:
    rows = [(f"text {place}", "yes", "somewhere") for place in range(40)]
    examples, report = _examples([*rows, *_SOUND])
    odd = {example for example in examples if example.text.startswith("text ")}
    assert {example.split == split_of(example.text_key) for example in odd} == {True}
    finding = _found(report, "unknown split name")
    assert (finding.count, finding.rows[0]) == (40, 1)


def test_without_a_split_column_the_hash_decides() -> None:
    rows = [(f"text {place}", ["yes", "no"][place % 2]) for place in range(100)]
    examples, report = _examples(rows)
    assert report.split_from == "hash"
    assert {example.split == split_of(example.text_key) for example in examples} == {True}
    assert report.splits == {split: sum(e.split == split for e in examples) for split in {e.split for e in examples}}


def test_a_file_without_a_validation_part_gives_some_training_texts_to_it() -> None:
    rows: list[tuple[object, ...]] = [(f"text {place}", ["yes", "no"][place % 2], "train") for place in range(400)]
    rows += [(f"held out {place}", ["yes", "no"][place % 2], "test") for place in range(20)]
    examples, report = _examples(rows)
    assert report.splits["test"] == 20
    assert 0 < report.splits["validation"] < report.splits["train"]
    assert {example.text for example in examples if example.split == "test"} == {f"held out {place}" for place in range(20)}


@given(st.floats(0.02, 0.5))
def test_a_share_that_is_asked_for_chooses_whatever_the_file_says_of_training_and_validation(ratio: float) -> None:
    named = ["train", "validation", "train", "test", "train"]
    rows = [(f"text {place}", ["yes", "no"][place % 2], named[place % 5]) for place in range(300)]
    examples, report = to_examples(_table(rows), _SETTINGS, validation_ratio=ratio)
    for (_, _, split), example in zip(rows, examples, strict=True):
        wanted = "test" if split == "test" else split_of(example.text_key, test_ratio=0.0, validation_ratio=ratio)
        assert example.split == wanted
    assert report.splits["test"] == 60, "no held-out row teaches"
    # A file that calls those rows training rows to begin with comes to the same.
    pooled = [(text, label, "train" if split == "validation" else split) for text, label, split in rows]
    assert to_examples(_table(pooled), _SETTINGS, validation_ratio=ratio)[0] == examples


def test_a_share_that_is_asked_for_is_one_of_the_rows_beside_the_test_part() -> None:
    texts = [(f"text {place}", ["yes", "no"][place % 2]) for place in range(2_000)]
    for rows in (texts, [(*row, "train") for row in texts]):
        examples, report = to_examples(_table(rows), _SETTINGS, validation_ratio=0.25)
        assert {e.split == "test" for e in examples if split_of(e.text_key) == "test"} == {True}
        others = report.splits["train"] + report.splits["validation"]
        assert report.splits["validation"] / others == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("ratio", [0.0, -0.1, 0.6, math.nan])
def test_a_share_that_leaves_nothing_to_choose_by_or_too_little_to_teach_is_refused(ratio: float) -> None:
    with pytest.raises(DataError, match=r"more than 0 and at most 0\.5 is allowed"):
        to_examples(_table(_SOUND), _SETTINGS, validation_ratio=ratio)


def test_a_label_without_training_rows_is_dropped_under_the_rows_of_the_file() -> None:
    rows = [(" ", "yes", "train"), *_SOUND, ("first", "rare", "test"), ("held out", "yes", "test"), ("second", "rare", "test")]
    examples, report = _examples(rows)
    assert "rare" not in {example.label for example in examples}
    finding = _found(report, "label has no training rows")
    assert (finding.count, finding.action, finding.rows) == (2, "dropped", [6, 8])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("a", "yes", "train"), ("b", "yes", "train"), ("", "no", "train")], r"reviews\.csv has 1 label \('yes'\).*two"),
        ([("", "yes", "train")], r"reviews\.csv has 0 label"),
        ([("a", "yes", "test"), ("b", "no", "test")], r"reviews\.csv has no rows to train on.*'test': 2"),
        (
            [("a", "yes", "train"), ("b", "yes", "validation"), ("c", "no", "test")],
            r"reviews\.csv has 1 label \('yes'\) with rows to train on.*two",
        ),
    ],
)
def test_what_cannot_teach_is_refused(rows: list[tuple[object, ...]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        _examples(rows)


def test_for_an_evaluation_one_label_and_no_training_rows_are_enough() -> None:
    rows: list[tuple[object, ...]] = [("a", "yes", "test"), ("b", "yes", "test"), ("", "no", "test")]
    examples, report = to_examples(_table(rows), _SETTINGS, to_train=False)
    assert [(example.text, example.split) for example in examples] == [("a", "test"), ("b", "test")]
    assert _found(report, "empty text").rows == [3]


_spellings = st.sampled_from(["{}", " {} ", "<i>{}</i>", "{}!"])
_rows = st.tuples(
    st.builds(lambda spelling, number: spelling.format(f"Text {number}"), _spellings, st.integers(0, 8)),
    st.sampled_from(["yes", "Yes", "no", "NO "]),
    st.sampled_from(["train", "validation", "test", "elsewhere"]),
)
_tables = st.lists(_rows, max_size=40).map(lambda rows: [*rows, *_SOUND])


@given(_tables)
def test_a_text_never_ends_up_in_two_splits_and_no_taught_text_is_held_out(rows: list[tuple[object, ...]]) -> None:
    examples, _ = _examples(rows)
    keys = [example.text_key for example in examples]
    assert len(keys) == len(set(keys))
    taught = {text_key(str(text)) for text, _, split in rows if split == "train"}
    assert not taught & {example.text_key for example in examples if example.split != "train"}


@given(_tables, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows: list[tuple[object, ...]], chance: random.Random) -> None:
    shuffled = rows[:]
    chance.shuffle(shuffled)
    (first, report), (second, other) = _examples(rows), _examples(shuffled)
    assert sorted(map(Example.canonical, first)) == sorted(map(Example.canonical, second))
    assert {(f.what, f.action): f.count for f in report.findings} == {(f.what, f.action): f.count for f in other.findings}
    assert (report.splits, report.labels) == (other.splits, other.labels)
