"""What training may see: the split of a text never changes, the last word wins, the hash names the set."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DataError
from core.labels import LabelSet
from core.schemas import CorrectionKind
from core.text import Split, split_of, text_key
from feedback.corrections import TrainingCorrection
from feedback.examples import load_examples, reading_once, save_examples
from feedback.snapshot import BaseDataset, Example, Snapshot, SnapshotCounts, build_snapshot
from tests.feedback.records import training_correction

_LABELS = LabelSet.of(["negative", "neutral", "positive"])
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_texts = st.integers(0, 30).map(lambda number: f"Text {number}")
_SPELLINGS: list[Callable[[str], str]] = [str, str.upper, lambda text: f"  {text} "]
_spellings = st.sampled_from(_SPELLINGS)
_labels = st.sampled_from(_LABELS.names)
_KINDS: list[CorrectionKind] = ["correction", "confirmation"]


@st.composite
def _base_rows(draw: st.DrawFn) -> Example:
    text = draw(_spellings)(draw(_texts))
    return Example.of(
        text, draw(_labels), split=draw(st.sampled_from([None, *_SPLITS])), metadata=draw(st.sampled_from([{}, {"n": 1}]))
    )


@st.composite
def _corrections(draw: st.DrawFn) -> list[TrainingCorrection]:
    words = draw(st.lists(st.tuples(_spellings, _texts, _labels, st.sampled_from(_KINDS)), max_size=40))
    return [training_correction(place + 1, spell(text), label, kind) for place, (spell, text, label, kind) in enumerate(words)]


# One row that is always there to train on, whatever else is drawn.
_ANCHOR = Example.of("anchor", "neutral", split="train")
_bases = st.lists(_base_rows(), max_size=40).map(lambda rows: [_ANCHOR, *rows])


@given(_bases, _corrections(), st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_changes_a_snapshot(
    base: list[Example], corrections: list[TrainingCorrection], chance: random.Random
) -> None:
    first = build_snapshot(base, corrections, _LABELS, 4.0)
    shuffled, again = base[:], corrections + corrections[: len(corrections) // 2]
    chance.shuffle(shuffled)
    chance.shuffle(again)
    assert build_snapshot(shuffled, again, _LABELS, 4.0) == first


@given(_bases, _corrections())
def test_a_held_out_text_is_never_trained_on(base: list[Example], corrections: list[TrainingCorrection]) -> None:
    snapshot = build_snapshot(base, corrections, _LABELS, 4.0)
    in_base = {example.text_key for example in base}
    held_out = {example.text_key for example in base if example.split != "train"}
    held_out |= {word.text_key for word in corrections if word.text_key not in in_base and split_of(word.text_key) != "train"}
    trained_on = {example.text_key for example in snapshot.of_split("train")}
    assert not held_out & trained_on
    splits = {(example.text_key, example.split) for example in snapshot.examples}
    assert len(splits) == len({key for key, _ in splits})
    assert "test" not in {example.split for example in snapshot.learned("full")}
    # A head is asked by cross-fitting about what people said, so that is not kept from it; the holdout is.
    for_heads = {example for example in snapshot.learned("head") if example.split == "test"}
    assert for_heads == {example for example in snapshot.of_split("test") if example.origin != "base"}
    assert not {example.text_key for example in for_heads} & in_base


@given(_bases, _corrections())
def test_the_last_word_on_a_trained_text_wins(base: list[Example], corrections: list[TrainingCorrection]) -> None:
    snapshot = build_snapshot(base, corrections, _LABELS, 4.0)
    last = {word.text_key: word for word in corrections}
    trained = {example.text_key: example for example in snapshot.of_split("train")}
    for key in trained.keys() & last.keys():
        word, example = last[key], trained[key]
        assert (example.label, example.origin) == (word.label, word.kind)
        assert example.weight == (4.0 if word.kind == "correction" else 1.0)
        assert word.sequence in snapshot.learned_from


def test_what_chance_drew_weighs_as_much_whether_it_corrects_or_confirms() -> None:
    """A drawn sample is as traffic is; with its errors counted four times it would be another traffic."""
    words = [
        replace(training_correction(number, f"text {number}", "positive", kind), drawn=number <= 2)
        for number, kind in enumerate([*_KINDS, *_KINDS], start=1)
    ]
    weights = {row.text: row.weight for row in build_snapshot([Example.of("a", "positive")], words, _LABELS, 4.0).examples}
    assert [weights[f"text {number}"] for number in range(1, 5)] == [1.0, 1.0, 4.0, 1.0]


def test_the_last_texts_that_chance_drew_are_marked_and_stay_so_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedback.snapshot.MIX_ROWS", 2)
    words = [
        replace(training_correction(number, f"text {number}", "positive", "confirmation"), drawn=number != 3)
        for number in range(1, 5)
    ]
    base = [Example.of("a", "positive", metadata={"shop": "b"}), Example.of("text 4", "negative", split="train")]
    snapshot = build_snapshot(base, words, _LABELS, 4.0)
    read = Snapshot.load(tmp_path, snapshot.save(tmp_path)).examples
    assert {example.text for example in read if example.drawn} == {"text 2", "text 4"}
    assert read == snapshot.examples
    assert next(example for example in read if example.text == "a").metadata == {"shop": "b"}


def _text_of(split: Split) -> str:
    return next(f"text {number}" for number in range(1_000) if split_of(text_key(f"text {number}")) == split)


def test_corrections_of_base_texts_relabel_them_where_they_may() -> None:
    base = [
        Example.of("trained", "negative", split="train", metadata={"id": 7}),
        Example.of("sure", "positive", split="train"),
        Example.of("chosen by", "negative", split="validation"),
        Example.of("held out", "negative", split="test"),
    ]
    corrections = [
        training_correction(1, "TRAINED", "neutral"),
        training_correction(2, "trained", "positive"),
        training_correction(3, "sure", "positive", "confirmation"),
        training_correction(4, "chosen by", "positive"),
        training_correction(5, "held out", "positive"),
        training_correction(6, "trained too", "outdated"),
    ]
    snapshot = build_snapshot(base, corrections, _LABELS, 4.0)
    found = {example.text: (example.label, example.split, example.origin, example.weight) for example in snapshot.examples}
    assert found == {
        "trained": ("positive", "train", "correction", 4.0),
        "sure": ("positive", "train", "confirmation", 1.0),
        "chosen by": ("negative", "validation", "base", 1.0),
        "held out": ("negative", "test", "base", 1.0),
    }
    assert snapshot.counts == SnapshotCounts(relabelled=1, agreeing=1, conflicts_with_holdout=2, unknown_labels=1)
    assert snapshot.learned_from == (2, 3)
    assert {example.text: example.metadata for example in snapshot.examples}["trained"] == {"id": 7}


def test_new_texts_join_in_the_split_of_their_key() -> None:
    corrections = [training_correction(place, _text_of(split), "positive") for place, split in enumerate(_SPLITS, start=1)]
    snapshot = build_snapshot([_ANCHOR], corrections, _LABELS, 4.0)
    for split in _SPLITS:
        assert _text_of(split) in {example.text for example in snapshot.of_split(split)}
    assert snapshot.counts.added == 3
    assert (snapshot.learned_from, snapshot.held_back) == ((1, 2), (3,))


def test_base_rows_that_leak_between_splits_stay_in_the_strictest() -> None:
    leaks = [Example.of(text, "positive", split=split) for text, split in zip(["A", "a", " a"], _SPLITS, strict=True)]
    snapshot = build_snapshot([_ANCHOR, *leaks], [], _LABELS, 4.0)
    assert [(example.text, example.split) for example in snapshot.examples if example is not _ANCHOR] == [(" a", "test")]
    assert snapshot.counts.base_rows_dropped == 2


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(DataError):
        build_snapshot([Example.of("a", "positive", split="test")], [], _LABELS, 4.0)


def test_a_snapshot_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    base = [Example.of("这是 <b>好</b>", "positive", metadata={"id": 1, "tags": ["é", None]}), _ANCHOR]
    snapshot = build_snapshot(base, [training_correction(1, "new", "negative")], _LABELS, 2.5)
    name = snapshot.save(tmp_path)
    assert name == snapshot.hash
    written = (tmp_path / f"{name}.parquet").stat().st_mtime_ns
    assert snapshot.save(tmp_path) == name
    assert (tmp_path / f"{name}.parquet").stat().st_mtime_ns == written
    assert Snapshot.load(tmp_path, name).examples == snapshot.examples
    assert pq.read_table(tmp_path / f"{name}.parquet").num_rows == 3


def test_altered_and_missing_files_are_refused(tmp_path: Path) -> None:
    snapshot = build_snapshot([_ANCHOR], [], _LABELS, 1.0)
    other = build_snapshot([_ANCHOR, Example.of("more", "positive")], [], _LABELS, 1.0)
    other.save(tmp_path)
    path = tmp_path / f"{snapshot.hash}.parquet"
    with pytest.raises(DataError, match="missing"):
        Snapshot.load(tmp_path, snapshot.hash)
    path.write_bytes((tmp_path / f"{other.hash}.parquet").read_bytes())
    with pytest.raises(DataError, match="altered"):
        Snapshot.load(tmp_path, snapshot.hash)
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match="not a file"):
        Snapshot.load(tmp_path, snapshot.hash)


def test_the_newest_base_data_set_is_the_current_one(tmp_path: Path) -> None:
    assert BaseDataset.current(tmp_path) is None
    with pytest.raises(DataError, match="no base data set"):
        BaseDataset.load(tmp_path)
    first = BaseDataset.of([Example.of("a", "x", split="train"), Example.of("b", "y", split="test")])
    second = BaseDataset.of([Example.of("c", "x", split="train")])
    first.save(tmp_path)
    assert BaseDataset.load(tmp_path) == first
    second.save(tmp_path)
    assert BaseDataset.load(tmp_path) == second
    assert BaseDataset.load(tmp_path, first.hash) == first
    assert first.labels == LabelSet.of(["x", "y"])
    assert first.counts() == {"train": 1, "validation": 0, "test": 1}
    assert json.loads((tmp_path / "base.json").read_text()) == {"hash": second.hash, "rows": 1}
    (tmp_path / "base.json").write_text("{}")
    with pytest.raises(DataError):
        BaseDataset.load(tmp_path)


def test_text_no_file_can_keep_is_refused_and_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        BaseDataset.of([Example.of("secret \ud800", "x", split="train")]).save(tmp_path)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert BaseDataset.current(tmp_path) is None


def test_within_a_block_a_file_is_read_once_unless_it_has_changed(tmp_path: Path) -> None:
    name = save_examples(tmp_path, [Example.of("Great phone", "positive")])
    path = tmp_path / f"{name}.parquet"
    body = path.read_bytes()
    with reading_once():
        first = load_examples(tmp_path, name)
        assert load_examples(tmp_path, name) is first
        path.chmod(0o644)
        path.write_bytes(body[:-1] + b"x")
        with pytest.raises(DataError):
            load_examples(tmp_path, name)
        path.unlink()
        with pytest.raises(DataError, match="is missing"):
            load_examples(tmp_path, name)
    path.write_bytes(body)
    again = load_examples(tmp_path, name)
    assert again == first
    assert load_examples(tmp_path, name) is not again
