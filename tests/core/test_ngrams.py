"""n-grams as serving computes them are those scikit-learn fits."""

from __future__ import annotations

import csv
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from core.errors import BundleError
from core.ngrams import TOKEN_PATTERN, Ngrams
from core.text import TextSettings, clean

_REVIEWS = Path(__file__).parents[2] / "train" / "data" / "reviews.csv"
_ODD = ("!", "?", "don't", "IT'S", "ＡＢ", "カタカナ", "한국어", "_", "🙂")


@cache
def _reviews() -> list[str]:
    with _REVIEWS.open(encoding="utf-8", newline="") as file:
        return [clean(row["text"], TextSettings.model_validate({})) for row in csv.DictReader(file)]


@cache
def _fitted(longest: int) -> tuple[TfidfVectorizer, Ngrams]:
    vectoriser = TfidfVectorizer(token_pattern=TOKEN_PATTERN, sublinear_tf=True, ngram_range=(1, longest))
    vectoriser.fit(_reviews()[::2])
    return vectoriser, Ngrams(longest, dict(vectoriser.vocabulary_), vectoriser.idf_.astype(np.float32))


def _compare(longest: int, text: str) -> None:
    vectoriser, ngrams = _fitted(longest)
    expected = vectoriser.transform([text]).tocsr()
    expected.sort_indices()
    row = ngrams.row(text)
    assert row.indices.dtype == np.int32
    assert row.values.dtype == np.float32
    np.testing.assert_array_equal(row.indices, expected.indices)
    np.testing.assert_allclose(row.values, expected.data, rtol=2e-6)


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_rows_equal_scikit_learn_s_on_reviews_it_has_not_seen(longest: int) -> None:
    assert len(_reviews()) > 1_000
    for text in _reviews()[1::14]:
        _compare(longest, text)


@settings(max_examples=60)
@given(
    st.lists(st.one_of(st.integers(0, 999), st.sampled_from(_ODD)), max_size=6),
    st.text(max_size=30),
    st.sampled_from([1, 2, 3]),
)
def test_rows_equal_scikit_learn_s_on_mixtures(parts: list[int | str], tail: str, longest: int) -> None:
    mixed = " ".join(_reviews()[part] if isinstance(part, int) else part for part in parts)
    _compare(longest, mixed + tail)
    _compare(longest, (mixed + tail).upper())


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("good phone", ["good", "phone"]),
        ("很好用", ["很", "好", "用"]),
        ("iPhone15很好!", ["iPhone15", "很", "好", "!"]),
        ("don't rock'n'roll 'quoted'", ["don't", "rock'n'roll", "quoted"]),
        ("snake_case", ["snake", "case"]),
        ("カナ한글", ["カ", "ナ", "한", "글"]),
        ("really?! yes.", ["really", "?", "!", "yes"]),
        ("été naïve Straße", ["été", "naïve", "Straße"]),
        ("3.5 stars", ["3", "5", "stars"]),
        (" \t.,;，。 ", []),
        ("", []),
    ],
)
def test_what_a_token_is(text: str, tokens: list[str]) -> None:
    assert re.findall(TOKEN_PATTERN, text) == tokens


@given(st.text(max_size=60))
def test_a_row_is_sorted_and_of_length_1_or_empty(text: str) -> None:
    row = _fitted(2)[1].row(text)
    assert len(row.indices) == len(row.values)
    assert (np.diff(row.indices) > 0).all()
    assert len(row.values) == 0 or abs(float(np.linalg.norm(row.values)) - 1.0) < 1e-5


@pytest.mark.parametrize("text", ["", " ", "qwertyuiop", "…", "🙂"])
def test_an_unknown_text_has_an_empty_row(text: str) -> None:
    row = Ngrams(2, {"good": 0, "good phone": 1}, np.ones(2, dtype=np.float32)).row(text)
    assert row.indices.tolist() == row.values.tolist() == []


def test_known_weights() -> None:
    ngrams = Ngrams(2, {"good": 0, "phone": 1, "good phone": 2}, np.array([1, 2, 3], dtype=np.float32))
    row = ngrams.row("GOOD good phone")
    values = np.array([1 + np.log(2), 2, 3])
    assert row.indices.tolist() == [0, 1, 2]
    np.testing.assert_allclose(row.values, values / np.linalg.norm(values), rtol=1e-6)


@pytest.mark.parametrize("longest", [1, 3])
def test_a_vocabulary_comes_back_as_it_went_in(tmp_path: Path, longest: int) -> None:
    ngrams = _fitted(longest)[1]
    ngrams.save(tmp_path / "ngrams.json")
    back = Ngrams.load(tmp_path / "ngrams.json")
    assert (back.longest, back.vocabulary, len(back)) == (longest, ngrams.vocabulary, len(ngrams))
    np.testing.assert_allclose(back.idf, ngrams.idf, atol=1e-6)
    for text in _reviews()[1::200]:
        np.testing.assert_array_equal(back.row(text).indices, ngrams.row(text).indices)
        np.testing.assert_allclose(back.row(text).values, ngrams.row(text).values, rtol=1e-5)


def test_saving_what_was_loaded_writes_the_same_bytes(tmp_path: Path) -> None:
    _fitted(2)[1].save(tmp_path / "once.json")
    Ngrams.load(tmp_path / "once.json").save(tmp_path / "twice.json")
    assert (tmp_path / "twice.json").read_bytes() == (tmp_path / "once.json").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"terms": ["good"]},
        {"terms": ["good", "good"]},
        {"terms": ["good", 7]},
        {"terms": {"good": 0}},
        {"idf": [1.0]},
        {"idf": [1.0, 2.0, 3.0]},
        {"idf": [1.0, float("nan")]},
        {"idf": [1.0, float("inf")]},
        {"idf": [1.0, "much"]},
        {"longest": 0},
        {"longest": None},
    ],
)
def test_a_vocabulary_that_does_not_fit_itself_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    body = {"longest": 1, "terms": ["good", "bad"], "idf": [1.0, 2.0]} | changes
    (tmp_path / "ngrams.json").write_text(json.dumps(body), encoding="utf-8")
    with pytest.raises(BundleError, match=r"ngrams\.json"):
        Ngrams.load(tmp_path / "ngrams.json")


@pytest.mark.parametrize("body", ["", "[]", "{}", "null", '{"longest": 1, "terms": []'])
def test_what_is_no_vocabulary_is_refused(tmp_path: Path, body: str) -> None:
    (tmp_path / "ngrams.json").write_text(body, encoding="utf-8")
    with pytest.raises(BundleError, match="not a readable vocabulary"):
        Ngrams.load(tmp_path / "ngrams.json")
    with pytest.raises(BundleError, match="not a readable vocabulary"):
        Ngrams.load(tmp_path / "nowhere.json")
