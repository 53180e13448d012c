"""A sample of answered texts as drift detectors see it: numbers and names, no text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.ngrams import words_of

FloatVector = NDArray[np.float32]
FloatMatrix = NDArray[np.float32]

# py3langid decides by bytes seen; on fewer letters it names any language, and always another one.
_LEAST_LETTERS = 12
UNSURE = "und"


@dataclass(frozen=True)
class Texts:
    """What is measured of ``n`` cleaned texts: words, share of unknown ones, language; ``embeddings`` (m, h) of some or all."""

    lengths: FloatVector
    unknown_ratios: FloatVector
    languages: tuple[str, ...]
    embeddings: FloatMatrix | None = None


@dataclass(frozen=True)
class Sample:
    """``n`` answers, each a label with the probability it was given; ``texts`` is None where no text may be looked at."""

    labels: tuple[str, ...]
    confidences: FloatVector
    texts: Texts | None = None

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.confidences):
            raise InputError(f"a sample has {len(self.labels)} labels and {len(self.confidences)} confidences")
        numbers = [self.confidences]
        if self.texts is not None:
            numbers += [self.texts.lengths, self.texts.unknown_ratios]
            numbers += [] if self.texts.embeddings is None else [self.texts.embeddings]
        if not all(np.isfinite(values).all() for values in numbers):
            # A detector would call it no drift: every comparison with it is false.
            raise InputError("a sample holds values that are not finite numbers")

    def __len__(self) -> int:
        return len(self.labels)


def measure_texts(
    cleaned: Sequence[str],
    known: Callable[[str], bool],
    embeddings: FloatMatrix | None = None,
    languages: tuple[str, ...] | None = None,
) -> Texts:
    """Return what is measured of cleaned texts.

    ``known`` says of a word whether training knew it; ``languages`` are told anew unless they are given.

    >>> measure_texts(["a strange word"], {"a", "word"}.__contains__).unknown_ratios.round(2).tolist()
    [0.33]
    """
    words = [words_of(text) for text in cleaned]
    unknown = [sum(1 for word in text if not known(word)) / max(1, len(text)) for text in words]
    return Texts(
        np.array([len(text) for text in words], dtype=np.float32),
        np.array(unknown, dtype=np.float32),
        tuple(map(language_of, cleaned)) if languages is None else languages,
        embeddings,
    )


def language_of(text: str) -> str:
    """Return the ISO 639-1 code of a text's language, ``und`` for one with too few letters to tell.

    By py3langid, the kept fork of langid.py (Lui and Baldwin, ACL 2012), whose model comes with the package.
    """
    letters = "".join(sign for sign in text if sign.isalpha())
    if len(letters.encode()) < _LEAST_LETTERS:
        return UNSURE
    # It reads its model for a second, which only those who watch drift should wait for.
    import py3langid

    return str(py3langid.classify(text)[0])


def shares(values: Sequence[str]) -> dict[str, float]:
    """Return each value's share, the largest first."""
    return {value: count / len(values) for value, count in Counter(values).most_common()}
