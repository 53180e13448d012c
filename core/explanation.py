"""What an explanation is: how much each part of a text moved the score of its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Attribution:
    """One part of a text, which begins and ends at these code points, and how much the label's score owes to it."""

    start: int
    end: int
    text: str
    value: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why ``label`` got ``score``: the attributions sum to ``score - baseline_score``.

    ``baseline_score`` is what ``label`` gets with every part taken out. ``evaluations`` is how many shortened texts were
    scored; ``method`` says whether these were all there are, or those along sampled orders (:mod:`core.shapley`).
    """

    label: str
    method: Literal["shapley", "shapley_sampled"]
    score: float
    baseline_score: float
    evaluations: int
    attributions: list[Attribution]
