"""What people said that the model has not learned yet, by text, ready to answer with.

A memory holds a bounded number of lessons and nothing else: whom to believe is decided before, and which of them a version
needs when it answers.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

MemoryTrust = Literal["at_once", "screened"]
"""Which corrections are answered with: those that pass the first look, or only those that the learner has screened."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """The right label of a text, by its key; ``sequence`` and ``correction_id`` are those of the newest who said so.

    ``supported_by`` are the sequence numbers of all who said so.
    """

    text_key: str
    text: str
    label: str
    sequence: int
    correction_id: str
    supported_by: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Recalled:
    """A lesson that answers a text: its own, or one that is as near as ``similarity``, a cosine, says."""

    lesson: Lesson
    similarity: float = 1.0
    match: Literal["exact", "near"] = "exact"


class Memory:
    """The newest ``most`` lessons, one for each text. Read by any thread, changed by one.

    >>> memory = Memory(1)
    >>> memory.put(Lesson("k", "one", "a", 1, "c_1")), memory.put(Lesson("l", "two", "b", 2, "c_2"))
    ([], ['k'])
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lessons: dict[str, Lesson] = {}
        # Oldest first; what was replaced or forgotten meanwhile is passed over.
        self._ages: list[tuple[int, str]] = []

    @property
    def lessons(self) -> Mapping[str, Lesson]:
        """All lessons by their text's key."""
        return self._lessons

    def put(self, lesson: Lesson) -> list[str]:
        """Keep ``lesson`` in the place of another one about its text; return the keys that left to make room."""
        if self._most < 1:
            return [lesson.text_key]
        known = self._lessons.get(lesson.text_key)
        self._lessons[lesson.text_key] = lesson
        # Who follows the store puts in again what is there already, and may do so for ever.
        if known is None or known.sequence != lesson.sequence:
            heapq.heappush(self._ages, (lesson.sequence, lesson.text_key))
        left = []
        while len(self._lessons) > self._most:
            sequence, key = heapq.heappop(self._ages)
            if self._is_current(sequence, key):
                del self._lessons[key]
                left.append(key)
        if len(self._ages) > 2 * self._most + 16:
            self._ages = [(lesson.sequence, key) for key, lesson in self._lessons.items()]
            heapq.heapify(self._ages)
        return left

    def forget(self, text_key: str) -> bool:
        """Drop the lesson about a text; return whether there was one."""
        return self._lessons.pop(text_key, None) is not None

    def get(self, text_key: str) -> Lesson | None:
        """Return the lesson about a text."""
        return self._lessons.get(text_key)

    def __len__(self) -> int:
        return len(self._lessons)

    def __iter__(self) -> Iterator[Lesson]:
        return iter(list(self._lessons.values()))

    def _is_current(self, sequence: int, key: str) -> bool:
        lesson = self._lessons.get(key)
        return lesson is not None and lesson.sequence == sequence
