"""Slices and swaps: gaps that are there are seen, gaps by chance are not, and terms are found as words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core.errors import DataError
from train.fairness import read_terms, slice_reports, swap_reports, term_slices

TERMS = {"female": ["she", "woman"], "male": ["he", "man"]}


def test_a_slice_that_is_answered_worse_is_named_first_and_holds() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 1000)
    worse = np.arange(1000) < 200
    wrong = random.random(1000) < np.where(worse, 0.3, 0.1)
    answers = np.where(wrong, 1 - truth, truth)
    slices = {"country x": np.flatnonzero(worse), "even": np.arange(0, 1000, 2)}
    first, second = slice_reports(slices, truth, answers, ["no", "yes"])
    assert (first.name, first.rows, first.holds, second.holds) == ("country x", 200, True, False)
    assert first.accuracy_gap.high < 0.0
    assert first.widest_recall_gap is not None
    assert first.widest_answer in ("no", "yes")


def test_many_slices_of_chance_hold_seldom() -> None:
    held = 0
    for turn in range(20):
        random = np.random.default_rng(turn)
        truth, answers = random.integers(0, 2, 400), random.integers(0, 2, 400)
        slices = {f"s{n}": random.permutation(400)[:100] for n in range(10)}
        held += any(item.holds for item in slice_reports(slices, truth, answers, ["no", "yes"]))
    assert held <= 3


def test_terms_are_found_as_whole_words_in_either_case() -> None:
    texts = ["She paid", "the shed", "a man and a WOMAN", "nothing"]
    found = term_slices(texts, TERMS)
    assert found["mentions female"].tolist() == [0, 2]
    assert found["mentions male"].tolist() == [2]
    assert term_slices(["他很好", "好"], {"a": ["他"]})["mentions a"].tolist() == [0]


def test_a_swap_that_changes_the_answer_is_shown() -> None:
    asked: list[str] = []

    def score(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[0.9, 0.1] if "woman" in text.casefold() else [0.2, 0.8] for text in texts], dtype=np.float32)

    reports = swap_reports(["Woman wanted", "a man, and she", "none"], TERMS, score, ["poor", "good"])
    by_group = {item.group: item for item in reports}
    assert "Man wanted" in asked
    assert "a woman, and she" in asked
    assert by_group["female"].texts == 2
    assert by_group["female"].changed is not None
    assert by_group["female"].changed.value == 0.5
    assert by_group["female"].shown[0].swapped_label == "good"
    assert by_group["male"].mean_shift == pytest.approx(0.7)


@pytest.mark.parametrize("body", ["", "[]", '{"a": []}', '{"a": [" "]}', '{"a": [1]}', "{}"])
def test_a_file_of_terms_that_is_none_is_refused(tmp_path: Path, body: str) -> None:
    path = tmp_path / "terms.json"
    path.write_text(body, encoding="utf-8")
    with pytest.raises(DataError, match=r"terms\.json"):
        read_terms(path)
