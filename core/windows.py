"""Reading a text that is longer than the encoder: its last tokens, or all of them in windows.

The tokenizer cuts on the right and hands over what it cut off, so every token is at hand without tokenizing again.
"""

from __future__ import annotations

from typing import Literal

from tokenizers import Encoding

Reading = Literal["right", "left", "windows"]
"""What is read of a long text: its beginning, its end, or all of it in windows."""

# A quarter of a window is read again in the next, so that most phrases stand whole in one of them.
_OVERLAP_RATIO = 0.25


def last_tokens(encoding: Encoding) -> list[int]:
    """Return the ids of a cut text's last tokens, as many as the encoder reads, between the special ones."""
    first, ids, last = _whole(encoding)
    room = len(encoding.ids) - len(first) - len(last)
    return [*first, *ids[-room:], *last]


def windows(encoding: Encoding) -> list[list[int]]:
    """Return the ids of all of a cut text's tokens, in windows as long as the encoder reads, each between the special ones.

    Neighbours share a quarter of their tokens; the last window may be shorter.
    """
    first, ids, last = _whole(encoding)
    room = len(encoding.ids) - len(first) - len(last)
    overlap = int(room * _OVERLAP_RATIO)
    # The last window begins where the one before it has not read to the end.
    starts = range(0, max(1, len(ids) - overlap), room - overlap)
    return [[*first, *ids[start : start + room], *last] for start in starts]


def _whole(encoding: Encoding) -> tuple[list[int], list[int], list[int]]:
    """Return the special tokens in front, all tokens of the text, and the special tokens behind."""
    parts = [_split(part) for part in (encoding, *encoding.overflowing)]
    first, _, last = parts[0]
    return first, [token for _, middle, _ in parts for token in middle], last


def _split(encoding: Encoding) -> tuple[list[int], list[int], list[int]]:
    ids, special = encoding.ids, encoding.special_tokens_mask
    start, end = 0, len(ids)
    while start < end and special[start]:
        start += 1
    while end > start and special[end - 1]:
        end -= 1
    return ids[:start], ids[start:end], ids[end:]
