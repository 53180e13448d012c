"""How far numbers measured on some rows may be from those of all: Wilson's interval for shares, resampling for the rest."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from core.gate_statistics import wilson

FloatArray = NDArray[np.float64]

_TIMES = 1_000
_TAILS = (0.025, 0.975)


class Interval(BaseModel):
    """A number with the bounds between which the true one lies with a confidence of 95%."""

    value: float
    low: float = Field(description="Lower bound of the 95% interval.")
    high: float


def share(right: int, rows: int) -> Interval | None:
    """Return ``right / rows`` with Wilson's interval (1927, Journal of the American Statistical Association 22).

    >>> found = share(90, 100)
    >>> found and (found.value, round(found.low, 4), round(found.high, 4))
    (0.9, 0.8256, 0.9448)
    """
    if not rows:
        return None
    low, high = wilson(right, rows)
    return Interval(value=right / rows, low=low, high=high)


def difference(right: int, rows: int, other_right: int, other_rows: int) -> Interval | None:
    """Return ``right / rows - other_right / other_rows`` of rows that have nothing to do with each other.

    Newcombe's hybrid of two Wilson intervals (Statistics in Medicine 17, 1998, 873-890, method 10).

    >>> found = difference(56, 70, 48, 80)
    >>> found and (round(found.value, 4), round(found.low, 4), round(found.high, 4))
    (0.2, 0.0524, 0.3339)
    """
    one, other = share(right, rows), share(other_right, other_rows)
    if one is None or other is None:
        return None
    value = one.value - other.value
    low = value - sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    high = value + sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    return Interval(value=value, low=low, high=high)


def averages(counts: NDArray[np.int64], *, seed: int = 0) -> dict[str, Interval]:
    """Return precision, recall and F1, macro and weighted by rows, from a table of counts (c, c), with bootstrap intervals.

    Resampling rows is drawing the cells of the table anew (Efron 1979, Annals of Statistics 7): 1,000 times, percentiles.
    Classes that are neither asked about nor answered do not count, as in scikit-learn.
    """
    rows = int(counts.sum())
    right, answer = np.nonzero(counts)
    cells = counts[right, answer]
    values = _averages(cells[None, :].astype(np.float64), right, answer, len(counts))
    draws = np.random.default_rng(seed).multinomial(rows, cells / rows, size=_TIMES).astype(np.float64)
    drawn = _averages(draws, right, answer, len(counts))
    found = {}
    for name, value in values.items():
        low, high = np.quantile(drawn[name], _TAILS)
        found[name] = Interval(value=float(value[0]), low=float(low), high=float(high))
    return found


def _averages(cells: FloatArray, right: NDArray[np.int64], answer: NDArray[np.int64], classes: int) -> dict[str, FloatArray]:
    """Return each average (t,) of ``t`` tables, given as their cells (t, m) at the places ``right`` and ``answer`` (m,)."""
    place = np.arange(len(right))
    of_right, of_answer = np.zeros((len(right), classes)), np.zeros((len(right), classes))
    of_right[place, right] = 1.0
    of_answer[place, answer] = 1.0
    asked, answered = cells @ of_right, cells @ of_answer
    hits = cells @ (of_right * of_answer)
    present = (asked + answered) > 0
    precision, recall = hits / np.maximum(answered, 1.0), hits / np.maximum(asked, 1.0)
    f1 = 2 * hits / np.maximum(asked + answered, 1.0)
    found: dict[str, FloatArray] = {}
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        found[f"macro_{name}"] = (values * present).sum(axis=1) / present.sum(axis=1)
        found[f"weighted_{name}"] = (values * asked).sum(axis=1) / asked.sum(axis=1)
    return found
