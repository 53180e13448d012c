"""A snapshot as arrays, and how long and how rare what is read of a text may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.labels import LabelSet
from core.text import Split, TextSettings
from feedback.snapshot import Example
from train.rows import Rows, token_limit

_NAMES = LabelSet.of(["no", "yes"])
_SETTINGS = TextSettings.model_validate({})
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def _rows(examples: list[Example]) -> Rows:
    return Rows.of(examples, _NAMES, _SETTINGS)


def test_rows_are_cleaned_and_sorted_into_splits() -> None:
    examples = [
        Example.of("<b>good</b>", "yes", split="train"),
        Example.of("bad", "no", split="test"),
        Example.of("strange", "perhaps", split="train"),
        Example.of("so  so", "no", split="validation"),
        Example("corrected", "k", "yes", "train", "correction", 4.0),
    ]
    rows = _rows(examples)
    assert rows.texts == ["good", "bad", "so so", "corrected"]
    assert rows.labels.tolist() == [1, 0, 0, 1]
    assert rows.weights.tolist() == [1.0, 1.0, 1.0, 4.0]
    assert (rows.train.tolist(), rows.validation.tolist(), rows.test.tolist()) == ([0, 3], [2], [1])
    assert rows.learnable.tolist() == [0, 3, 2]
    assert rows.counts() == {"train": 2, "validation": 1, "test": 1}
    assert rows.pick(rows.test) == ["bad"]


def test_the_holdout_has_base_rows_only() -> None:
    rows = _rows([Example("a", "k1", "yes", "test", "correction"), Example("b", "k2", "no", "test", "confirmation")])
    assert rows.counts() == {"train": 0, "validation": 0, "test": 0}


def test_what_is_kept_from_the_encoder_a_head_learns() -> None:
    said = [Example(f"text {place}", f"k{place}", "yes", split, "correction") for place, split in enumerate(_SPLITS)]
    base = [Example.of("bad", "no", split="test")]
    full, head = (Rows.of([*said, *base], _NAMES, _SETTINGS, speed) for speed in ("full", "head"))
    assert (full.train.tolist(), full.validation.tolist(), full.test.tolist()) == ([0], [1], [3])
    assert (head.train.tolist(), head.validation.tolist(), head.test.tolist()) == ([0, 2], [1], [3])
    assert (full.corrected.tolist(), head.corrected.tolist()) == ([0, 1], [0, 1, 2])


@pytest.mark.parametrize(
    ("text", "longest"),
    [("the card is late", 2), ("这个产品很好用", 3), ("とても良い", 3), ("iPhone 好", 2), ("123", 2), ("아주 좋아요", 3)],
)
def test_where_a_sign_is_a_token_ngrams_are_longer(text: str, longest: int) -> None:
    assert _rows([Example.of(text, "yes", split="train")]).longest_ngram() == longest


def test_the_script_of_held_out_texts_does_not_count() -> None:
    held_out = [Example.of(f"这个产品很好用{n}", "yes", split="test") for n in range(9)]
    assert _rows([Example.of("fine", "yes", split="train"), *held_out]).longest_ngram() == 2


def test_an_ngram_always_has_to_occur_in_two_texts_at_least() -> None:
    assert _rows([Example.of("fine", "yes", split="train")]).least_documents() >= 2


@given(st.lists(st.integers(1, 2_000)), st.integers(1, 600))
def test_texts_are_cut_within_what_the_encoder_reads(lengths: list[int], most: int) -> None:
    limit = token_limit(lengths, most)
    assert 1 <= limit <= most
    assert limit <= 256
    if lengths and max(lengths) <= min(most, 64):
        assert limit >= max(lengths)
