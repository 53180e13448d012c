"""What an explanation is: how much each part of a text moved the score of its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Attribution:
    """One part of a text, by its place in code points, and how much the label's score owes to it."""

    start: int
    end: int
    value: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why ``label`` got ``score``: the attributions sum to ``score - baseline_score``.

    ``baseline_score`` is what ``label`` gets where every part is taken out. ``evaluations`` is how many shortened texts were
    scored; ``method`` says whether all of them were, or those along sampled permutations.
    """

    label: str
    method: Literal["shapley", "shapley_sampled"]
    score: float
    baseline_score: float
    evaluations: int
    attributions: list[Attribution]
