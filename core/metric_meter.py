"""Metrics that are counted at the same moments: their labels are looked up once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

LabelValues = tuple[str, ...]


class Counted(Protocol):
    """A counter or histogram under its labels."""

    def add(self, amount: float, times: int) -> None:
        """Count ``amount`` so many ``times``."""


Find = Callable[[LabelValues], tuple[Sequence[Counted], bool]]


class Meter:
    """Counts several metrics under one set of labels; what a request pays for being counted is mostly the way to them."""

    def __init__(self, find: Find) -> None:
        """``find`` returns what counts under some values of the labels, in order, and whether it will stay so."""
        self._find = find
        self._found: dict[LabelValues, tuple[Callable[[float, int], None], ...]] = {}

    def add(self, values: LabelValues, amounts: Sequence[float], times: int = 1) -> None:
        """Count each metric's amount, in the order they were named in, so many ``times`` under these values of the labels."""
        counting = self._found.get(values)
        if counting is None:
            counting = self._look_up(values)
        for count, amount in zip(counting, amounts, strict=True):
            count(amount, times)

    def _look_up(self, values: LabelValues) -> tuple[Callable[[float, int], None], ...]:
        found, stays = self._find(values)
        counting = tuple(one.add for one in found)
        if stays:
            self._found[values] = counting
        return counting
