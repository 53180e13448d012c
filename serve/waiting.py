"""Texts that wait for the engine, and the choice of those that go together.

The oldest text is in every batch, so none starves; its companions are those of like length, so little is spent on padding.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

Content = TypeVar("Content")

# Share of a batch that may be padding. A call of the engine costs about as much as 35 tokens besides its own (MiniLM int8 on 2
# cores), so it hardly matters where the limit lies: simulated with BANKING77's lengths and 32 callers, 5% to 18% of padding are
# within 3% of each other, and first come first served, which pads 65%, reaches half of that.
PADDING_RATIO = 0.05
# Where few wait, company is worth a little more.
PADDING_TOKENS = 5


@dataclass(frozen=True, eq=False, slots=True)
class WaitingText(Generic[Content]):
    """One text: ``model`` is who shall answer it, ``tokens`` its length, ``content`` whatever its owner wants back."""

    model: object
    tokens: int
    content: Content


@dataclass(frozen=True)
class BatchBudget:
    """What one call of the engine may take; ``max_tokens`` counts padding."""

    max_texts: int
    max_tokens: int


_Entry = tuple[int, int, WaitingText[Content]]


class WaitingTexts(Generic[Content]):
    """Texts in order of arrival and, per model, of length. Not for several threads."""

    def __init__(self) -> None:
        self._arrivals: OrderedDict[WaitingText[Content], int] = OrderedDict()
        self._lines: dict[object, list[_Entry[Content]]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._arrivals)

    def add(self, text: WaitingText[Content]) -> None:
        """Put ``text`` at the end."""
        self._arrivals[text] = self._next
        insort(self._lines.setdefault(text.model, []), (text.tokens, self._next, text))
        self._next += 1

    def remove(self, text: WaitingText[Content]) -> None:
        """Take ``text`` out, wherever it stands; nothing happens when it is not here any more."""
        arrival = self._arrivals.pop(text, None)
        if arrival is None:
            return
        line = self._lines[text.model]
        del line[bisect_left(line, (text.tokens, arrival))]
        self._forget_if_empty(text.model)

    def next_model(self) -> object:
        """Return who shall answer the next batch, None when nothing waits."""
        return next(iter(self._arrivals)).model if self._arrivals else None

    def take(self, budget: BatchBudget) -> list[WaitingText[Content]]:
        """Return the next batch, shortest text first, all of one model; empty when nothing waits.

        It holds the oldest text, and costs ``budget`` at most unless that one text alone costs more.
        """
        if not self._arrivals:
            return []
        oldest, arrival = next(iter(self._arrivals.items()))
        line = self._lines[oldest.model]
        low, high = _window(line, bisect_left(line, (oldest.tokens, arrival)), budget)
        batch = [text for _, _, text in line[low:high]]
        del line[low:high]
        self._forget_if_empty(oldest.model)
        for text in batch:
            del self._arrivals[text]
        return batch

    def _forget_if_empty(self, model: object) -> None:
        # A line keeps its model alive, and a replaced model must be free to go.
        if not self._lines[model]:
            del self._lines[model]


def _window(line: list[_Entry[Content]], place: int, budget: BatchBudget) -> tuple[int, int]:
    """Return the slice of ``line``, which is sorted by length, that goes with ``place``: its neighbours, the nearest first."""
    low, high = place, place + 1
    longest = total = line[place][0]
    while high - low < budget.max_texts:
        texts = high - low + 1
        steps = []
        for neighbour in (low - 1, high):
            if 0 <= neighbour < len(line):
                tokens = line[neighbour][0]
                cost = max(longest, tokens) * texts
                steps.append((cost - total - tokens, cost, neighbour))
        if not steps:
            break
        padding, cost, neighbour = min(steps)
        if padding > max(PADDING_TOKENS, PADDING_RATIO * cost) or cost > budget.max_tokens:
            break
        low, high = min(low, neighbour), max(high, neighbour + 1)
        longest = cost // texts
        total += line[neighbour][0]
    return low, high
