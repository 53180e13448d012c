"""How near a text must be to a corrected one for the memory to give it the same label, read off rows nobody was trained on.

A memory holds texts that the version got wrong, and near those labels change more often than elsewhere. So a similarity has to
pass twice: of what is answered from all validation rows, each left out in turn, at least 99% is right with a confidence of 95%;
and what is answered from those alone that the head, fitted on the training part, got wrong does not speak against 99%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from core.bundle import Nearness
from core.neighbours import Nearest, nearest
from core.text import normalise

FloatMatrix = NDArray[np.float32]
IntVector = NDArray[np.int64]
BoolVector = NDArray[np.bool_]

TARGET_RATIO = 0.99
CONFIDENCE = 0.95
# A version that is as sure of another label is not overruled by a neighbour.
CONTRARY_SCORE = 0.98
# So many answers without a fault are needed to be that confident: 0.99 ** 299 < 0.05.
_LEAST_ANSWERS = 299
_MOST_ROWS = 4_000
_STEPS = np.arange(0.99, 0.495, -0.01)


@dataclass(frozen=True)
class LabelledRows:
    """Texts with their embeddings (n, h) of length 1, classes (n,), and what a head that has not seen them says (n, c)."""

    texts: Sequence[str]
    embeddings: FloatMatrix
    labels: IntVector
    probabilities: FloatMatrix

    def sample(self, most: int, seed: int) -> LabelledRows:
        """Return ``most`` of the rows, drawn by chance, or all of them."""
        if len(self.texts) <= most:
            return self
        places = np.sort(np.random.default_rng(seed).permutation(len(self.texts))[:most])
        return LabelledRows(
            [self.texts[place] for place in places],
            self.embeddings[places],
            self.labels[places],
            self.probabilities[places],
        )


def calibrate(validation: LabelledRows, test: LabelledRows, *, seed: int = 0) -> Nearness:
    """Return the least similarity that passes, None where none does, and how it fares on the test part.

    Similarities are tried from the highest down and the first that fails ends the search (fixed-sequence testing), so that
    looking at many does not make a bad one pass. The bound is Clopper and Pearson's (1934). The test part chooses nothing.
    """
    known, asked = validation.sample(_MOST_ROWS, seed), test.sample(_MOST_ROWS, seed)
    wrong = np.flatnonzero(known.probabilities.argmax(axis=1) != known.labels)
    every, hard = np.arange(len(known.texts)), _Trial(known, known, wrong)
    trial = _Trial(known, known, every)
    chosen: float | None = None
    for step in _STEPS:
        similarity = round(float(step), 2)
        if chosen is None and trial.count(similarity)[0] < _LEAST_ANSWERS:
            continue
        if not _passes(trial.count(similarity), hard.count(similarity)):
            break
        chosen = similarity
    told = 1.1 if chosen is None else chosen
    answered, right = trial.count(told)
    hard_answered, hard_right = hard.count(told)
    test_answered, test_right = _Trial(known, asked, every).count(told)
    return Nearness(
        similarity=chosen,
        contrary_score=CONTRARY_SCORE,
        rows=len(known.texts),
        answered=answered,
        right=right,
        right_low=round(_lower_bound(right, answered), 6),
        wrong_rows=len(wrong),
        wrong_answered=hard_answered,
        wrong_right=hard_right,
        test_rows=len(asked.texts),
        test_answered=test_answered,
        test_right=test_right,
    )


def _passes(every: tuple[int, int], hard: tuple[int, int]) -> bool:
    answered, right = every
    hard_answered, hard_right = hard
    contradicts = hard_answered > 0 and binom.cdf(hard_right, hard_answered, TARGET_RATIO) < 1.0 - CONFIDENCE
    return _lower_bound(right, answered) >= TARGET_RATIO and not contradicts


def _lower_bound(right: int, answered: int) -> float:
    return float(beta.ppf(1.0 - CONFIDENCE, right, answered - right + 1)) if right else 0.0


class _Trial:
    """Answering ``asked`` from those of ``known`` at ``places``; a text is never answered from itself."""

    def __init__(self, known: LabelledRows, asked: LabelledRows, places: IntVector) -> None:
        self._found: Nearest | None = None
        if not len(places) or not len(asked.texts):
            return
        similarities = asked.embeddings @ known.embeddings[places].T
        names = {name: at for at, name in enumerate(dict.fromkeys(map(normalise, [*known.texts, *asked.texts])))}
        of_known = np.array([names[normalise(known.texts[place])] for place in places])
        of_asked = np.array([names[normalise(text)] for text in asked.texts])
        similarities[of_asked[:, None] == of_known[None, :]] = -2.0
        self._found = nearest(similarities, known.labels[places])
        given = known.labels[places][self._found.places]
        self._right = given == asked.labels
        self._sure = (asked.probabilities.max(axis=1) >= CONTRARY_SCORE) & (asked.probabilities.argmax(axis=1) != given)

    def count(self, similarity: float) -> tuple[int, int]:
        """Return how many are answered at this similarity, and how many of them right."""
        if self._found is None:
            return 0, 0
        answers = self._found.answers(similarity) & ~self._sure
        return int(answers.sum()), int(self._right[answers].sum())
