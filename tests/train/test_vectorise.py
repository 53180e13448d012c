"""The n-gram vocabulary, and that training and serving count alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from core.errors import DataError
from core.ngrams import TOKEN_PATTERN, Ngrams
from train.vectorise import fit_ngrams, ngram_rows

_TEXTS = [
    "The card is late!",
    "the card is late again",
    "这个产品很好",
    "这个产品不好，退款",
    "don't DON'T don't?",
    "don't ask",
    "Anna Smith asks for the card",
]


@pytest.mark.parametrize("longest", [1, 2, 3])
@pytest.mark.parametrize("least", [1, 2])
def test_rows_are_those_of_scikit_learn(longest: int, least: int) -> None:
    ngrams = fit_ngrams(_TEXTS, longest=longest, min_documents=least)
    theirs = TfidfVectorizer(
        token_pattern=TOKEN_PATTERN, ngram_range=(1, longest), min_df=least, sublinear_tf=True, dtype=np.float32
    )
    expected = theirs.fit_transform(_TEXTS)
    assert ngrams.vocabulary == {term: int(place) for term, place in theirs.vocabulary_.items()}
    np.testing.assert_allclose(ngram_rows(ngrams, _TEXTS).toarray(), expected.toarray(), atol=1e-6)


_WORDS = st.sampled_from(["the", "card", "is", "late", "again", "don't", "ask", "Anna", "这个", "产品", "好", "!", "zebra"])


@settings(deadline=None)
@given(st.lists(st.text(max_size=30) | st.lists(_WORDS, max_size=40).map(" ".join), max_size=5))
def test_rows_are_computed_as_serving_computes_them(texts: list[str]) -> None:
    ngrams = fit_ngrams(_TEXTS, longest=2, min_documents=1)
    matrix = ngram_rows(ngrams, texts)
    assert matrix.shape == (len(texts), len(ngrams))
    for place, text in enumerate(texts):
        row = ngrams.row(text)
        expected = np.zeros(len(ngrams), np.float32)
        expected[row.indices] = row.values
        np.testing.assert_array_equal(matrix[[place]].toarray()[0], expected)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(_WORDS, max_size=8).map(" ".join), min_size=1, max_size=12), st.integers(1, 3), st.integers(1, 3))
def test_any_vocabulary_is_that_of_scikit_learn(texts: list[str], longest: int, least: int) -> None:
    theirs = TfidfVectorizer(
        token_pattern=TOKEN_PATTERN, ngram_range=(1, longest), min_df=min(least, len(texts)), sublinear_tf=True
    )
    try:
        theirs.fit(texts)
    except ValueError:
        with pytest.raises(DataError):
            fit_ngrams(texts, longest=longest, min_documents=least)
        return
    ngrams = fit_ngrams(texts, longest=longest, min_documents=least)
    assert ngrams.vocabulary == {term: int(place) for term, place in theirs.vocabulary_.items()}
    np.testing.assert_allclose(ngrams.idf, theirs.idf_, rtol=1e-6)


def test_a_vocabulary_may_hold_ngrams_whose_beginnings_it_lacks() -> None:
    ngrams = Ngrams(2, {"is late": 0, "late": 1, "three tokens long": 2}, np.ones(3, np.float32))
    matrix = ngram_rows(ngrams, ["the card is late", "three tokens long"])
    np.testing.assert_allclose(matrix.toarray(), [[0.5**0.5, 0.5**0.5, 0.0], [0.0, 0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("least", [1, 2, 3])
def test_rare_ngrams_stay_out(least: int) -> None:
    ngrams = fit_ngrams(_TEXTS, longest=2, min_documents=least)
    matrix = ngram_rows(ngrams, _TEXTS)
    assert (matrix.toarray() > 0).sum(axis=0).min() >= least
    assert ("anna" in ngrams.vocabulary) == (least == 1)
    assert ("anna smith" in ngrams.vocabulary) == (least == 1)


def test_of_the_others_the_most_frequent_are_kept() -> None:
    texts = ["common words", "common words", "common", "rare"]
    assert set(fit_ngrams(texts, longest=1, min_documents=1, most=1).vocabulary) == {"common"}


@pytest.mark.parametrize("texts", [["one", "two", "three"], ["😀", "😡", "😀"], []])
def test_texts_without_a_word_in_common_are_refused(texts: list[str]) -> None:
    with pytest.raises(DataError, match=f"of the {len(texts)} training texts"):
        fit_ngrams(texts, longest=2, min_documents=2)
