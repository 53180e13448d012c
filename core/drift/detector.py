"""The contract of a drift detector: ``fit`` keeps the reference, ``score`` compares a window with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, Self

from core.drift.samples import Sample

Watched = Literal["inputs", "outputs", "errors"]

# Below this the approximations of the p-values do not hold, and no drift worth an alarm is seen anyway.
MIN_ROWS = 30


@dataclass(frozen=True)
class Score:
    """How far a window is from the reference: ``size`` in the detector's own unit, ``p_value`` of so much by chance."""

    size: float
    p_value: float


class Detector(ABC):
    """Compares windows of answers with a reference. ``source`` names the paper, ``unit`` says what a size means."""

    name: str
    watches: Watched
    unit: str
    source: str

    def __init__(self) -> None:
        self._reference: Sample | None = None

    def fit(self, reference: Sample) -> Self:
        """Keep the reference and return the detector."""
        self._reference = reference
        return self

    def score(self, window: Sample) -> Score | None:
        """Return how far ``window`` is from the reference; None where one of them lacks what is compared.

        The same two samples give the same score, in whatever order the rows of either stand.

        Raises:
            RuntimeError: before :meth:`fit`.
        """
        if self._reference is None:
            raise RuntimeError("score follows fit")
        if min(len(window), len(self._reference)) < MIN_ROWS:
            return None
        return self._compare(self._reference, window)

    @abstractmethod
    def _compare(self, reference: Sample, window: Sample) -> Score | None:
        """Return the score of two samples of ``MIN_ROWS`` rows or more."""
