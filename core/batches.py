"""Grouping texts of like length, so that little of the engine's work is spent on padding."""

from __future__ import annotations

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], *, max_texts: int, max_tokens: int) -> list[list[int]]:
    """Return the positions of ``lengths`` grouped into batches, shortest texts first.

    A batch costs its longest text times its size; that product stays within ``max_tokens``, except that a text longer than
    the whole budget still gets a batch of its own. Every position occurs exactly once.

    >>> plan_batches([5, 1, 4, 9], max_texts=2, max_tokens=10)
    [[1, 2], [0], [3]]
    """
    batches: list[list[int]] = []
    current: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        # Sorted, so the newcomer is the longest: it alone decides what the batch would cost with it.
        if current and (len(current) == max_texts or (len(current) + 1) * lengths[place] > max_tokens):
            batches.append(current)
            current = []
        current.append(place)
    if current:
        batches.append(current)
    return batches
