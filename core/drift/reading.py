"""Which words a version knows, by its n-grams or else its tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from core.bundle import NGRAMS, TOKENIZER, Manifest
from core.encoder import load_tokenizer
from core.ngrams import Ngrams

_KEPT_WORDS = 50_000


def known_words(folder: Path, manifest: Manifest) -> Callable[[str], bool]:
    """Return what says of a word whether the bundle in ``folder`` knows it.

    Raises:
        BundleError: its vocabulary cannot be read.
    """
    if manifest.ngrams is not None:
        return known_by_ngrams(Ngrams.load(folder / NGRAMS))
    limit = manifest.encoder.max_tokens if manifest.encoder is not None else 1
    return known_by_tokenizer(load_tokenizer(folder / TOKENIZER, max_tokens=limit))


def known_by_ngrams(ngrams: Ngrams) -> Callable[[str], bool]:
    """Return whether a word is among the n-grams, which are those that several training texts have."""
    return ngrams.vocabulary.__contains__


def known_by_tokenizer(tokenizer: Tokenizer) -> Callable[[str], bool]:
    """Return whether a tokenizer reads a word without its unknown token; one without such a token knows all."""
    name = getattr(tokenizer.model, "unk_token", None)
    unknown = tokenizer.token_to_id(name) if name is not None else None

    @lru_cache(maxsize=_KEPT_WORDS)
    def knows(word: str) -> bool:
        return unknown is None or unknown not in tokenizer.encode(word, add_special_tokens=False).ids

    return knows
