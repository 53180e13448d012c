"""Choosing the n-gram vocabulary from training texts, and counting it in texts by the ten thousand.

Texts become numbers of tokens, and everything after that is done on whole arrays: a loop over the n-grams of half a million
texts takes minutes in Python. The rows are, bit by bit, those that serving computes text by text.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from core.errors import DataError
from core.ngrams import TOKEN_PATTERN, Ngrams

IntVector = NDArray[np.int64]

_TOKEN = re.compile(TOKEN_PATTERN)

_MOST_NGRAMS = 200_000
# A weight for each n-gram and class: 128 MB, which every replica holds, twice over while it swaps.
_MOST_WEIGHTS = 32_000_000


def most_ngrams(classes: int) -> int:
    """Return how many n-grams a head of so many classes may look at.

    >>> most_ngrams(77), most_ngrams(1000)
    (200000, 32000)
    """
    return min(_MOST_NGRAMS, _MOST_WEIGHTS // classes)


@dataclass(frozen=True)
class Tokens:
    """Texts as numbers: ``ids`` of their tokens, text after text, and ``numbers``, which says what each stands for.

    For each token, ``text`` is the place of its text, and ``left`` how many tokens of it are left, itself included.
    """

    ids: IntVector
    text: IntVector
    left: IntVector
    numbers: dict[str, int]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Tokens:
        """Return the tokens of cleaned texts."""
        numbers: dict[str, int] = {}
        ids, lengths = array("q"), array("q")
        for text in texts:
            found = _TOKEN.findall(text.lower())
            ids.extend([numbers.setdefault(token, len(numbers)) for token in found])
            lengths.append(len(found))
        counts = np.array(lengths, dtype=np.int64)
        ends = np.repeat(np.cumsum(counts), counts)
        return cls(
            np.array(ids, dtype=np.int64), np.repeat(np.arange(len(counts)), counts), ends - np.arange(len(ends)), numbers
        )


def fit_ngrams(texts: Sequence[str], *, longest: int, min_documents: int, most: int = _MOST_NGRAMS) -> Ngrams:
    """Return the n-grams of 1 to ``longest`` tokens that occur in at least ``min_documents`` of the cleaned ``texts``.

    Rare ones stay out, so that no person's name hides in a bundle; of the rest the ``most`` frequent are kept. Vocabulary and
    weights are those of scikit-learn's ``TfidfVectorizer``.

    Raises:
        DataError: when none occurs so often.
    """
    least = min(min_documents, max(1, len(texts)))
    tokens = Tokens.of(texts)
    grams: list[_Gram] = []
    level = None
    for size in range(1, longest + 1):
        level = _frequent(tokens, size, least, level)
        grams.extend(level.grams(tokens))
    if not grams:
        raise DataError(
            f"no word stands in {least} of the {len(texts)} training texts, so nothing can be learned; more rows are needed"
        )
    grams.sort(key=lambda gram: (-gram.occurrences, gram.term))
    kept = sorted(grams[:most], key=lambda gram: gram.term)
    documents = np.array([gram.documents for gram in kept], dtype=np.float64)
    idf = np.log((1.0 + len(texts)) / (1.0 + documents)) + 1.0
    return Ngrams(longest, {gram.term: place for place, gram in enumerate(kept)}, idf.astype(np.float32))


@dataclass(frozen=True)
class _Gram:
    term: str
    documents: int
    occurrences: int


@dataclass(frozen=True)
class _Level:
    """The n-grams of ``size`` tokens that are frequent enough: ``starts`` are all places they begin at, ``number`` says which.

    For each number, ``example`` is one of those places, beside its counts.
    """

    size: int
    starts: IntVector
    number: IntVector
    example: IntVector
    documents: IntVector
    occurrences: IntVector

    def grams(self, tokens: Tokens) -> list[_Gram]:
        """Return them as text."""
        names = list(tokens.numbers)
        spelt = tokens.ids[self.example[:, None] + np.arange(self.size)].tolist()
        terms = [" ".join([names[number] for number in numbers]) for numbers in spelt]
        return [_Gram(*gram) for gram in zip(terms, self.documents.tolist(), self.occurrences.tolist(), strict=True)]


def _frequent(tokens: Tokens, size: int, least: int, shorter: _Level | None) -> _Level:
    """Return the n-grams in ``least`` texts or more; each begins with one of the ``shorter`` ones, which is as frequent."""
    if shorter is None:
        starts = np.arange(len(tokens.ids))
        keys = tokens.ids
    else:
        fits = tokens.left[shorter.starts] >= size
        starts = shorter.starts[fits]
        keys = shorter.number[fits] * len(tokens.numbers) + tokens.ids[starts + size - 1]
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)
    occurrences = np.bincount(number, minlength=len(first))
    text = tokens.text[starts]
    texts = int(text[-1]) + 1 if len(text) else 1
    documents = np.bincount(np.unique(number * texts + text) // texts, minlength=len(first))
    frequent = documents >= least
    kept = frequent[number]
    return _Level(
        size,
        starts[kept],
        (np.cumsum(frequent) - 1)[number[kept]],
        starts[first[frequent]],
        documents[frequent],
        occurrences[frequent],
    )


def ngram_rows(ngrams: Ngrams, texts: Sequence[str]) -> csr_matrix[np.float32]:
    """Return the TF-IDF rows (n, k) of cleaned texts, equal to what :meth:`core.ngrams.Ngrams.row` gives for each."""
    tokens = Tokens.of(texts)
    width = max(1, len(ngrams))
    cells, counts = np.unique(_cells(tokens, ngrams, width), return_counts=True)
    rows, columns = np.divmod(cells, width)
    powers, place = np.unique(counts, return_inverse=True)
    values = np.array([1.0 + math.log(power) for power in powers.tolist()], dtype=np.float32)[place]
    values *= ngrams.idf[columns]
    bounds = np.searchsorted(rows, np.arange(len(texts) + 1))
    _scale_to_one(values, bounds)
    return csr_matrix((values, columns.astype(np.int32), bounds), shape=(len(texts), len(ngrams)), dtype=np.float32)


def _scale_to_one(values: NDArray[np.float32], bounds: IntVector) -> None:
    """Divide each row by its Euclidean length; rows of equal size together, so that sums come out as they do for one row."""
    sizes = np.diff(bounds)
    for size in np.unique(sizes[sizes > 0]):
        places = bounds[:-1][sizes == size][:, None] + np.arange(size)
        rows = values[places]
        values[places] = rows / np.sqrt(np.square(rows).sum(axis=1, keepdims=True))


def _cells(tokens: Tokens, ngrams: Ngrams, width: int) -> IntVector:
    """Return ``text * width + column`` for every n-gram of the vocabulary at every place it stands, in no order."""
    found = [np.empty(0, dtype=np.int64)]
    starts = np.arange(len(tokens.ids))
    node = np.zeros(len(starts), dtype=np.int64)
    for depth, (keys, columns) in enumerate(_trie(tokens, ngrams)):
        fits = tokens.left[starts] > depth
        starts = starts[fits]
        wanted = node[fits] * len(tokens.numbers) + tokens.ids[starts + depth]
        node = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        known = keys[node] == wanted
        starts, node = starts[known], node[known]
        column = columns[node]
        named = column >= 0
        found.append(tokens.text[starts[named]] * width + column[named])
    return np.concatenate(found)


def _trie(tokens: Tokens, ngrams: Ngrams) -> list[tuple[IntVector, IntVector]]:
    """Return a level for each number of tokens: keys in order, and the column of each, -1 for a mere beginning.

    A key is the place of the beginning in the level before, times the number of tokens, plus the number of the last token.
    """
    wide = len(tokens.numbers)
    levels: list[dict[tuple[int, ...], int]] = [{} for _ in range(ngrams.longest)]
    for term, column in ngrams.vocabulary.items():
        spelt = tuple(tokens.numbers.get(token, -1) for token in term.split(" "))
        if -1 in spelt or len(spelt) > ngrams.longest:
            continue
        levels[len(spelt) - 1][spelt] = column
        for size in range(1, len(spelt)):
            levels[size - 1].setdefault(spelt[:size], -1)
    trie: list[tuple[IntVector, IntVector]] = []
    place: dict[tuple[int, ...], int] = {(): 0}
    for level in levels:
        if not level:
            break
        keyed = sorted((place[spelt[:-1]] * wide + spelt[-1], spelt) for spelt in level)
        place = {spelt: number for number, (_, spelt) in enumerate(keyed)}
        trie.append((np.array([key for key, _ in keyed]), np.array([level[spelt] for _, spelt in keyed])))
    return trie
