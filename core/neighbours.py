"""Which of some labelled texts is nearest to another one, and whether those that are as near agree about the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.memory import Lesson

FloatMatrix = NDArray[np.float32]
FloatVector = NDArray[np.float32]
IntVector = NDArray[np.int64]

_LEAST_CAPACITY = 64


@dataclass(frozen=True)
class Nearest:
    """For each of n texts the place of the nearest one, its similarity, and that of the nearest of another label, all (n,)."""

    places: IntVector
    similarity: FloatVector
    rival: FloatVector

    def answers(self, least: float) -> NDArray[np.bool_]:
        """Return for which texts (n,) the nearest is at least so near, and none that is has another label."""
        return np.asarray((self.similarity >= least) & (self.rival < least))


def nearest(similarities: FloatMatrix, codes: IntVector) -> Nearest:
    """Return the nearest by cosine ``similarities`` (n, m) to m > 0 texts, whose labels are told apart by ``codes`` (m,).

    >>> found = nearest(np.array([[0.9, 0.8], [0.2, 0.7]], dtype=np.float32), np.array([1, 2]))
    >>> found.places.tolist(), found.answers(0.85).tolist(), found.answers(0.7).tolist()
    ([0, 1], [True, False], [False, True])
    """
    places = similarities.argmax(axis=1)
    rows = np.arange(len(similarities))
    others = np.where(codes[None, :] == codes[places][:, None], np.float32(-2.0), similarities)
    return Nearest(places, similarities[rows, places], others.max(axis=1))


class Near(NamedTuple):
    """A lesson near to a text, and how near."""

    lesson: Lesson
    similarity: float


@dataclass(frozen=True)
class Neighbours:
    """Lessons with the embeddings of their texts (m, h), of length 1, as they were when this was made."""

    vectors: FloatMatrix
    codes: IntVector
    lessons: Sequence[Lesson | None]

    def find(self, embeddings: FloatMatrix, least: float) -> list[Near | None]:
        """Return for each of ``embeddings`` (n, h) the nearest lesson, None where none is so near, or those that are differ."""
        if not len(self.vectors):
            return [None] * len(embeddings)
        found = nearest(embeddings @ self.vectors.T, self.codes)
        near: list[Near | None] = [None] * len(embeddings)
        for row in np.flatnonzero(found.answers(least)).tolist():
            lesson = self.lessons[int(found.places[row])]
            if lesson is not None:
                near[row] = Near(lesson, float(found.similarity[row]))
        return near


class NeighbourIndex:
    """Embeddings of lessons in one space of ``hidden`` dimensions; changed by one thread, its views read by any.

    A vector that is removed is overwritten, in views that were given out too: an erased text must leave nothing behind. To a
    vector of zeros nothing is near.
    """

    def __init__(self, hidden: int) -> None:
        self._vectors: FloatMatrix = np.zeros((_LEAST_CAPACITY, hidden), dtype=np.float32)
        self._lessons: list[Lesson | None] = []
        self._places: dict[str, int] = {}
        self._codes: dict[str, int] = {}
        self._view: Neighbours | None = None

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, lesson: object) -> bool:
        """Whether the text of ``lesson`` is here, whatever its label was."""
        return isinstance(lesson, Lesson) and lesson.text_key in self._places

    def put(self, lesson: Lesson, vector: FloatVector | None = None) -> None:
        """Keep ``lesson``; without a ``vector`` (h,) that of its text stays, or where there is none nothing is near to it."""
        self._view = None
        place = self._places.get(lesson.text_key)
        if place is None:
            place = self._places[lesson.text_key] = self._new_place()
        self._lessons[place] = lesson
        if vector is not None:
            self._vectors[place] = vector

    def forget(self, text_key: str) -> None:
        """Drop what there is about a text."""
        place = self._places.pop(text_key, None)
        if place is None:
            return
        self._view = None
        self._vectors[place] = 0.0
        self._lessons[place] = None
        if len(self._lessons) > 2 * len(self._places) + _LEAST_CAPACITY:
            self._compact()

    def keys(self) -> set[str]:
        """Return the keys of the texts that are here."""
        return set(self._places)

    def view(self) -> Neighbours:
        """Return what is here now; later changes do not show in it, but for what is forgotten."""
        if self._view is None:
            codes = [
                -1 if lesson is None else self._codes.setdefault(lesson.label, len(self._codes)) for lesson in self._lessons
            ]
            vectors = self._vectors[: len(self._lessons)]
            self._view = Neighbours(vectors, np.array(codes, dtype=np.int64), tuple(self._lessons))
        return self._view

    def _new_place(self) -> int:
        place = len(self._lessons)
        if place == len(self._vectors):
            grown = np.zeros((2 * len(self._vectors), self._vectors.shape[1]), dtype=np.float32)
            grown[:place] = self._vectors
            self._vectors = grown
        self._lessons.append(None)
        return place

    def _compact(self) -> None:
        kept = [place for place, lesson in enumerate(self._lessons) if lesson is not None]
        # A new array: older views go on reading the one they have.
        vectors = np.zeros((max(_LEAST_CAPACITY, 2 * len(kept)), self._vectors.shape[1]), dtype=np.float32)
        vectors[: len(kept)] = self._vectors[kept]
        self._vectors = vectors
        self._lessons = [self._lessons[place] for place in kept]
        self._places = {lesson.text_key: at for at, lesson in enumerate(self._lessons) if lesson is not None}
