"""Texts that are all but the same: MinHash finds candidates without comparing all pairs, their shingles decide.

A. Broder, "On the resemblance and containment of documents" (1997). Two texts with a resemblance of 0.85 are found with a
probability above 0.999 by 24 bands of 4 hashes, two with 0.3 in one case of five, and then dropped by the comparison.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from core.text import normalise

_SHINGLE_CHARS = 4
_BANDS = 24
_ROWS = 4
# Largest prime below 2**31, so that products fit 64 bits.
_PRIME = 2_147_483_647
# A boilerplate text that thousands share would else be compared with each of them.
_MOST_PER_BAND = 50


def near_duplicates(texts: Sequence[str], *, resemblance: float, min_chars: int) -> Iterator[tuple[int, int]]:
    """Yield pairs of places, the lower first, of texts whose sets of four characters overlap by ``resemblance`` or more.

    ``resemblance`` is intersection over union. Texts shorter than ``min_chars`` characters are left out: one word is much of
    them.
    """
    chance = np.random.default_rng(0)
    factors, offsets = chance.integers(1, _PRIME, (2, _BANDS * _ROWS, 1), dtype=np.int64)
    shingles: dict[int, frozenset[int]] = {}
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for place, text in enumerate(texts):
        words = normalise(text)
        if len(words) < min_chars:
            continue
        own = shingles[place] = frozenset(_shingles(words))
        signature = _signature(own, factors, offsets)
        for band in range(_BANDS):
            bucket = buckets[band, signature[band * _ROWS : (band + 1) * _ROWS].tobytes()]
            if len(bucket) < _MOST_PER_BAND:
                bucket.append(place)
    candidates = {(a, b) for bucket in buckets.values() for at, a in enumerate(bucket) for b in bucket[at + 1 :]}
    for a, b in sorted(candidates):
        both = len(shingles[a] & shingles[b])
        if both >= resemblance * (len(shingles[a]) + len(shingles[b]) - both):
            yield a, b


def _shingles(text: str) -> Iterator[int]:
    for start in range(max(1, len(text) - _SHINGLE_CHARS + 1)):
        yield zlib.crc32(text[start : start + _SHINGLE_CHARS].encode("utf-8", "surrogatepass")) % _PRIME


def _signature(shingles: frozenset[int], factors: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    hashes = np.fromiter(shingles, dtype=np.int64, count=len(shingles))
    return np.asarray(((factors * hashes + offsets) % _PRIME).min(axis=1))
