"""Answering from memory: what people said of a text, in the place of what a version says of it that has not learned it yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.bundle import Nearness
from core.label_book import LabelBook
from core.memory import Lesson, Recalled
from core.neighbours import Near, Neighbours
from serve.jobs import FloatMatrix, Scored, Seek
from serve.queries import Options, Prediction
from serve.ranking import SURENESS, Own, apply, rows_of

DoubleVector = NDArray[np.float64]


@dataclass(frozen=True)
class Recall:
    """What the memory holds, for one version that answers, which has ``learned`` some of it.

    ``lessons`` are by the key of their text, and change while this is in use; ``learned`` are sequence numbers. ``neighbours``
    are the lessons in the version's own space of embeddings, None where its ``nearness`` says that nearness says nothing.
    """

    lessons: Mapping[str, Lesson]
    learned: Set[int]
    book: LabelBook
    nearness: Nearness | None = None
    neighbours: Neighbours | None = None

    @property
    def seek(self) -> Seek | None:
        """What is to be shown the embeddings of texts, None where nothing can be near to them."""
        return None if self.neighbours is None else self._look

    def _look(self, embeddings: FloatMatrix) -> list[Near | None]:
        least = None if self.nearness is None else self.nearness.similarity
        if self.neighbours is None or least is None:
            return [None] * len(embeddings)
        return self.neighbours.find(embeddings, least)

    def exact(self, text_key: str, own_label: str) -> Recalled | None:
        """Return what answers this text: nothing where the version has learned it and says so itself."""
        lesson = self.lessons.get(text_key)
        if lesson is None or (self.has_learned(lesson) and self.book.now(own_label) == lesson.label):
            return None
        return Recalled(lesson)

    def near(self, near: Near | None, said: Own) -> Recalled | None:
        """Return what a text near to this one answers: nothing that the version has learned, or is sure is otherwise."""
        if near is None or self.nearness is None or self.has_learned(near.lesson):
            return None
        # Forgotten since this request began, or told otherwise.
        if self.lessons.get(near.lesson.text_key) is not near.lesson:
            return None
        contrary = said.probability >= self.nearness.contrary_score and self.book.now(said.label) != near.lesson.label
        return None if contrary else Recalled(near.lesson, near.similarity, "near")

    def applied(
        self,
        predictions: list[Prediction],
        own: Sequence[Own],
        keys: Sequence[str],
        scored: Scored,
        labels: Sequence[str],
        options: Options,
    ) -> list[Prediction]:
        """Return the predictions, those that are recalled in the place of the version's own."""
        found: dict[int, Recalled] = {}
        for place, (key, said) in enumerate(zip(keys, own, strict=True)):
            recalled = self.exact(key, said.label) or self.near(scored.found.get(place), said)
            if recalled is not None:
                found[place] = recalled
        if not found:
            return predictions
        rows = rows_of(scored, options)
        return [
            remembered(prediction, rows[place], labels, found[place], options, self.book) if place in found else prediction
            for place, prediction in enumerate(predictions)
        ]

    def has_learned(self, lesson: Lesson) -> bool:
        """Return whether the version was trained on this lesson."""
        return not self.learned.isdisjoint(lesson.supported_by)


def remembered(
    prediction: Prediction,
    row: NDArray[np.floating],
    labels: Sequence[str],
    recalled: Recalled,
    options: Options,
    book: LabelBook,
) -> Prediction:
    """Return ``prediction`` with the label that was recalled in front, and the scores that go with it.

    The label gets a probability of ``SURENESS``, unless the version gives it more, and the others share the rest as they did
    before. ``row`` (c,) are the version's probabilities, or its logits where those are shown or made into something else; of
    these the label's own is raised until its softmax is that probability.
    """
    label = recalled.lesson.label
    names = list(labels)
    place = _place_of(label, names, book)
    values = row.astype(np.float64)
    if place is None:
        names.append(label)
        place = len(values)
        values = np.append(values, 0.0 if options.function == "softmax" else -np.inf)
    names[place] = label
    raised = _raise_probability(values, place) if options.function == "softmax" else _raise_logit(values, place)
    shown = raised if options.function == "softmax" else apply(options.function, raised[None, :])[0]
    order = np.argsort(-raised, kind="stable")[: options.top_k]
    threshold = -1.0 if options.min_score is None else options.min_score
    return replace(
        prediction,
        scores=[(names[at], round(float(shown[at]), 6)) for at in order.tolist()],
        abstained=threshold > SURENESS,
        recalled=recalled,
    )


def own_answer(prediction: Prediction, probability: float) -> Own:
    """Return what the version itself says, by the ``prediction`` made of its row alone."""
    return Own(prediction.scores[0][0], probability)


def _place_of(label: str, names: Sequence[str], book: LabelBook) -> int | None:
    """Return where the version has this label, under its name of now or one that it had; None: it does not know it."""
    if label in names:
        return names.index(label)
    return next((place for place, name in enumerate(names) if book.now(name) == label), None)


def _raise_probability(values: DoubleVector, place: int) -> DoubleVector:
    own = float(values[place])
    if own >= SURENESS:
        return values
    others = max(float(values.sum()) - own, np.finfo(np.float64).tiny)
    raised = values * ((1.0 - SURENESS) / others)
    raised[place] = SURENESS
    return raised


def _raise_logit(values: DoubleVector, place: int) -> DoubleVector:
    others = float(np.logaddexp.reduce(np.delete(values, place)))
    raised = values.copy()
    raised[place] = max(float(values[place]), others + np.log(SURENESS / (1.0 - SURENESS)))
    return raised
