"""Cutting a text into the parts a person would point at: words, or characters in scripts that leave no spaces.

Unlike the tokens of :mod:`core.ngrams` the parts leave nothing out, so that they can be taken out of a text one by one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

Kind = Literal["space", "extends", "word", "symbol", "character"]
Part = tuple[int, int]

# Scripts written without spaces between words: Thai, Lao, Tibetan, Myanmar, Khmer, kana, Han. Korean does leave spaces.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)
# A modifier of an emoji's skin, which Unicode does not class as a mark.
_SKIN = re.compile("[\U0001f3fb-\U0001f3ff]")


def split_parts(text: str) -> list[Part]:
    """Return the parts of ``text`` as (start, end) in code points, in order; only white space lies between them.

    A part is a run of letters, digits and punctuation, a run of emoji, or one character of a script without spaces; marks,
    joiners and punctuation stay with what they follow.

    >>> [text[start:end] for text in ["Ça va, 好的。👍🏽"] for start, end in split_parts(text)]
    ['Ça', 'va,', '好', '的。', '👍🏽']
    """
    parts: list[Part] = []
    open_kind: Kind = "space"
    for place, character in enumerate(text):
        kind = _kind(character)
        if kind == "extends" and open_kind == "space":
            # Punctuation at the beginning belongs to the word that follows it.
            kind = "word"
        if kind == "extends" or (kind == open_kind and kind in ("word", "symbol")):
            parts[-1] = (parts[-1][0], place + 1)
        else:
            if kind != "space":
                parts.append((place, place + 1))
            open_kind = kind
    return parts


def group_parts(parts: Sequence[Part], most: int) -> list[Part]:
    """Return ``parts``, or at most ``most`` runs of them that differ in size by one at most.

    >>> group_parts([(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)], 2)
    [(0, 3), (4, 9)]
    """
    groups = min(most, len(parts))
    bounds = [place * len(parts) // groups for place in range(groups + 1)] if groups else [0]
    return [(parts[low][0], parts[high - 1][1]) for low, high in pairwise(bounds)]


def keep_parts(text: str, parts: Sequence[Part], kept: int) -> str:
    """Return ``text`` with only those parts whose bit is set in ``kept``, each with the white space behind it.

    >>> keep_parts("not so good", [(0, 3), (4, 6), (7, 11)], 0b101)
    'not good'
    """
    cuts = [0, *(start for start, _ in parts[1:]), len(text)]
    return "".join(text[cuts[place] : cuts[place + 1]] for place in range(len(parts)) if kept >> place & 1)


def _kind(character: str) -> Kind:
    if character.isspace():
        return "space"
    if character.isalnum() and character.isascii():
        return "word"
    if _SKIN.match(character):
        return "extends"
    category = unicodedata.category(character)
    if category[0] in "MP" or category in ("Cf", "Cc"):
        return "extends"
    if category == "So":
        return "symbol"
    return "character" if _UNSPACED.match(character) else "word"
