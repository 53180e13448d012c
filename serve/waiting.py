"""Texts that wait for the engine, and the choice of those that go together.

The text whose turn it is is in every batch, so none starves; its companions are of like length, so little is spent on padding.
Turns are in order of arrival, but that a text which came alone does not wait for all of a request of many that came a little
before: it goes between them. As many may pass each of them as others came with it, so those take twice the time at most.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from heapq import heappop, heappush
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
    """Texts by whose turn it is and, per model, by length. Not for several threads."""

    def __init__(self) -> None:
        self._arrivals: dict[WaitingText[Content], int] = {}
        # The first to go on top; what was taken or removed since stays in it until then.
        self._turns: list[_Entry[Content]] = []
        self._lines: dict[object, list[_Entry[Content]]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._arrivals)

    def add(self, text: WaitingText[Content], beside: int = 0) -> None:
        """Put ``text`` at the end, or ``beside`` places behind it: as many others come with it in its request."""
        self._arrivals[text] = self._next
        heappush(self._turns, (self._next + beside, self._next, text))
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
        first = self._first()
        return None if first is None else first.model

    def _first(self) -> WaitingText[Content] | None:
        while self._turns and self._turns[0][2] not in self._arrivals:
            heappop(self._turns)
        return self._turns[0][2] if self._turns else None

    def take(self, budget: BatchBudget) -> list[WaitingText[Content]]:
        """Return the next batch, shortest text first, all of one model; empty when nothing waits.

        It holds the text whose turn it is, and costs ``budget`` at most unless that one text alone costs more.
        """
        first = self._first()
        if first is None:
            return []
        line = self._lines[first.model]
        low, high = _window(line, bisect_left(line, (first.tokens, self._arrivals[first])), budget)
        batch = [text for _, _, text in line[low:high]]
        del line[low:high]
        self._forget_if_empty(first.model)
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
