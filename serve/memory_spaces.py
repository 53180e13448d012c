"""The embeddings of a memory's lessons, once for each space that a version in a replica reads texts in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from core.classifier import Classifier
from core.memory import Lesson
from core.neighbours import FloatVector, NeighbourIndex, Neighbours
from serve.slot import Loaded


class MemorySpaces:
    """An index for each space that is in use; made and used on one event loop."""

    def __init__(self) -> None:
        self._indices: dict[str, NeighbourIndex] = {}

    def keep_to(self, versions: Iterable[Loaded]) -> bool:
        """Have an index for the space of each version for which nearness says something; return whether any is new or gone."""
        wanted: dict[str, int] = {}
        for loaded in versions:
            space, encoder = space_of(loaded.classifier), loaded.classifier.manifest.encoder
            if space is not None and encoder is not None:
                wanted[space] = encoder.hidden
        if wanted.keys() == self._indices.keys():
            return False
        self._indices = {space: self._indices.get(space) or NeighbourIndex(hidden) for space, hidden in wanted.items()}
        return True

    def missing(self, loaded: Loaded, lessons: Mapping[str, Lesson], most: int) -> list[Lesson]:
        """Return up to ``most`` lessons, the newest first, that have no embedding in the space of this version yet."""
        index = self._of(loaded)
        if index is None or len(index) >= len(lessons):
            return []
        absent = [lesson for lesson in lessons.values() if lesson not in index]
        return sorted(absent, key=lambda lesson: -lesson.sequence)[:most]

    def put(self, loaded: Loaded, lessons: Sequence[Lesson], found: Mapping[int, FloatVector]) -> None:
        """Keep what was ``found`` for the lessons, by their place: their embeddings; to the others nothing is near."""
        index = self._of(loaded)
        if index is not None:
            for place, lesson in enumerate(lessons):
                index.put(lesson, found.get(place))

    def follow(self, lesson: Lesson) -> None:
        """Have a lesson that is told anew stand in the place of the one before about its text."""
        for index in self._indices.values():
            if lesson in index:
                index.put(lesson)

    def forget(self, text_key: str) -> None:
        """Drop what there is about a text."""
        for index in self._indices.values():
            index.forget(text_key)

    def neighbours(self, loaded: Loaded) -> Neighbours | None:
        """Return the lessons as this version reads them; None where nothing can be near to them."""
        index = self._of(loaded)
        return index.view() if index is not None and len(index) else None

    def _of(self, loaded: Loaded) -> NeighbourIndex | None:
        space = space_of(loaded.classifier)
        return None if space is None else self._indices.get(space)


def space_of(classifier: Classifier) -> str | None:
    """Return the space in which a version's embeddings lie; None where they do not say which texts have one label."""
    nearness = classifier.manifest.nearness
    return classifier.space if nearness is not None and nearness.similarity is not None else None
