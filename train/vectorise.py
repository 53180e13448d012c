"""Choosing the n-gram vocabulary from training texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from core.errors import DataError
from core.ngrams import TOKEN_PATTERN, Ngrams


def fit_ngrams(texts: Sequence[str], *, longest: int, min_documents: int, most: int = 200_000) -> Ngrams:
    """Return the n-grams of 1 to ``longest`` tokens that occur in at least ``min_documents`` of the cleaned ``texts``.

    Rare ones stay out, so that no person's name hides in a bundle; of the rest the ``most`` frequent are kept.

    Raises:
        DataError: when none occurs so often.
    """
    least = min(min_documents, max(1, len(texts)))
    vectoriser = TfidfVectorizer(
        token_pattern=TOKEN_PATTERN,
        ngram_range=(1, longest),
        min_df=least,
        sublinear_tf=True,
        max_features=most,
        dtype=np.float32,
    )
    try:
        vectoriser.fit(texts)
    except ValueError as error:
        raise DataError(
            f"no word stands in {least} of the {len(texts)} training texts, so nothing can be learned; more rows are needed"
        ) from error
    terms = {str(term): int(place) for term, place in vectoriser.vocabulary_.items()}
    return Ngrams(longest, terms, np.asarray(vectoriser.idf_, dtype=np.float32))


def ngram_rows(ngrams: Ngrams, texts: Sequence[str]) -> csr_matrix[np.float32]:
    """Return the TF-IDF rows (n, k) of cleaned texts, computed by the code that serves."""
    rows = [ngrams.row(text) for text in texts]
    bounds = np.concatenate([[0], np.cumsum([len(row.indices) for row in rows])])
    indices = np.concatenate([row.indices for row in rows]) if rows else np.empty(0, np.int32)
    values = np.concatenate([row.values for row in rows]) if rows else np.empty(0, np.float32)
    return csr_matrix((values, indices, bounds), shape=(len(rows), len(ngrams)), dtype=np.float32)
