"""How the loss fell, in a bounded number of points."""

from __future__ import annotations

import math

from core.schemas import CurvePoint

MOST_POINTS = 200


class Curve:
    """Points of equal weight over the whole of training, however many steps it has.

    When it is full every second point goes, and from then on only every second step leaves one; so at most ``MOST_POINTS``
    are kept, never fewer than half of that once so many came, and neighbours are equally far apart.
    """

    def __init__(self) -> None:
        self.points: list[CurvePoint] = []
        self._every = 1
        self._seen = 0

    def add(self, progress_ratio: float, loss: float, examples_per_s: float | None) -> None:
        """Take note of a step; a loss that is no number, as where training diverges, cannot be drawn."""
        if not math.isfinite(loss):
            return
        if self._seen % self._every == 0:
            if len(self.points) == MOST_POINTS:
                del self.points[1::2]
                self._every *= 2
            if self._seen % self._every == 0:
                pace = None if examples_per_s is None else round(examples_per_s, 2)
                self.points.append(
                    CurvePoint(progress_ratio=round(progress_ratio, 5), loss=round(loss, 5), examples_per_s=pace)
                )
        self._seen += 1
