"""n-grams of a text as a sparse TF-IDF vector.

One rule serves every script: a token is a run of letters, digits and apostrophes, but a Han, kana or Hangul character is a
token by itself. So the same n-grams are word n-grams in English and character n-grams in Chinese. The weights are those of
scikit-learn's ``TfidfVectorizer(sublinear_tf=True)``, which fits them; this module only applies them, because serving one text
through scikit-learn costs more than the head itself (a test holds the two equal).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, FiniteFloat, PositiveInt

from core.bundle import check_json_size
from core.errors import BundleError

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
TOKEN_PATTERN = rf"(?u)[{_CJK}]|[!?]|[^\W{_CJK}_]+(?:'[^\W{_CJK}_]+)*"
_TOKEN = re.compile(TOKEN_PATTERN)


def words_of(text: str) -> list[str]:
    """Return the tokens of a cleaned text, in lower case.

    >>> words_of("Don't 买 it!")
    ["don't", '买', 'it', '!']
    """
    found: list[str] = _TOKEN.findall(text.lower())
    return found


@dataclass(frozen=True)
class SparseRow:
    """One text: ``indices`` into the vocabulary, ascending, and ``values`` of Euclidean length 1 (or none)."""

    indices: NDArray[np.int32]
    values: NDArray[np.float32]


class _Stored(BaseModel):
    longest: PositiveInt
    terms: list[str]
    idf: list[FiniteFloat]


@dataclass(frozen=True)
class Ngrams:
    """A vocabulary of n-grams with their inverse document frequencies."""

    longest: int
    vocabulary: dict[str, int]
    idf: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.vocabulary)

    def row(self, text: str) -> SparseRow:
        """Return the TF-IDF vector of a cleaned text."""
        tokens = words_of(text)
        counts: dict[int, int] = {}
        places = self.vocabulary
        for size in range(1, self.longest + 1):
            for start in range(len(tokens) - size + 1):
                place = places.get(tokens[start] if size == 1 else " ".join(tokens[start : start + size]))
                if place is not None:
                    counts[place] = counts.get(place, 0) + 1
        indices = np.fromiter(sorted(counts), dtype=np.int32, count=len(counts))
        values = np.fromiter((1.0 + math.log(counts[i]) for i in indices.tolist()), dtype=np.float32, count=len(counts))
        values *= self.idf[indices]
        length = float(np.sqrt(np.square(values).sum()))
        return SparseRow(indices, values / length if length else values)

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON, in index order."""
        terms = sorted(self.vocabulary, key=self.vocabulary.__getitem__)
        body = {"longest": self.longest, "terms": terms, "idf": [round(float(v), 6) for v in self.idf]}
        path.write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Ngrams:
        """Read what :meth:`save` wrote.

        Raises:
            BundleError: when the file is damaged or too large, or lacks one finite frequency for each of its different terms.
        """
        check_json_size(path)
        try:
            stored = _Stored.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise BundleError(f"{path.name} is not a readable vocabulary") from error
        vocabulary = {term: place for place, term in enumerate(stored.terms)}
        if not len(vocabulary) == len(stored.terms) == len(stored.idf):
            found = f"{len(stored.terms)} terms, {len(vocabulary)} of them different, and {len(stored.idf)} frequencies"
            raise BundleError(f"{path.name} has {found}; each term stands there once, with one frequency")
        return cls(stored.longest, vocabulary, np.asarray(stored.idf, dtype=np.float32))
