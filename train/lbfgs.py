"""L-BFGS in single precision with a preconditioner: the least value of a smooth convex function of millions of weights.

scipy's keeps weights and history in double precision and copies them at every step, and it cannot be told what the curvature of
the function roughly is. On the loss of a head that costs several times the memory and several times the steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import saxpy, sdot

Weights = NDArray[np.float32]

# A step is taken when it goes down by this share of what the slope promises (Nocedal and Wright 2006, section 3.1).
_ARMIJO = 1e-4
_LEAST_STEP = 1e-6


class Function(Protocol):
    """What is minimised: a function of a contiguous array of any one shape."""

    def at(self, weights: Weights) -> tuple[float, Weights]:
        """Return value and gradient."""

    def precondition(self, gradient: Weights) -> Weights:
        """Return the gradient divided by a guess of the curvature at the weights that were asked about last."""


@dataclass(frozen=True)
class Minimum:
    """Where the search ended; ``above`` estimates how far its value lies above the least one."""

    weights: Weights
    value: float
    above: float
    evaluations: int


@dataclass(frozen=True)
class Limits:
    """When a search ends: ``tolerance`` above the least value, or after so many ``evaluations``.

    Each of the ``history`` steps that are remembered takes twice the memory of the weights.
    """

    tolerance: float
    evaluations: int = 300
    history: int = 6


def minimise(
    function: Function, start: Weights, limits: Limits, on_step: Callable[[int, float], None] | None = None
) -> Minimum:
    """Return the weights at which the convex ``function`` is within about ``limits.tolerance`` of its least value.

    The direction is that of L-BFGS (Nocedal 1980, Math. Comp. 35) over the function's own guess of its curvature. Half of what
    the slope along it promises is how far a quadratic function would still fall; unlike the length of the gradient, it says the
    same whatever the scale of the weights, so it decides when to stop.

    Args:
        function: what to minimise.
        start: where to begin; left as it is.
        limits: when to stop.
        on_step: called with the number of evaluations and the value after each step.
    """
    weights = np.array(start, dtype=np.float32, order="C")
    value, gradient = function.at(weights)
    evaluations = 1
    steps: deque[tuple[Weights, Weights, float]] = deque(maxlen=limits.history)
    while True:
        if on_step is not None:
            on_step(evaluations, value)
        direction = _descent(function, gradient, steps)
        slope = _dot(direction, gradient)
        above = -slope / 2.0
        # Not above: also where single precision has made a slope of it that goes up, or is no number.
        if not above > limits.tolerance or evaluations >= limits.evaluations:
            return Minimum(weights, value, above, evaluations)
        length = 1.0
        while True:
            there = weights + np.float32(length) * direction
            new_value, new_gradient = function.at(there)
            evaluations += 1
            gained = new_value - value
            if gained <= _ARMIJO * length * slope or length < _LEAST_STEP:
                break
            length *= _shortening(gained, length * slope)
        if not gained < 0.0:
            return Minimum(weights, value, above, evaluations)
        # The arrays of the step before become its record, so that nothing is copied.
        direction *= np.float32(length)
        np.subtract(new_gradient, gradient, out=gradient)
        curvature = _dot(direction, gradient)
        if curvature > 0.0:
            steps.append((direction, gradient, curvature))
        weights, value, gradient = there, new_value, new_gradient


def _shortening(gained: float, promised: float) -> float:
    """Return by what to multiply the length of a step: to the least point of the parabola through what is known of it."""
    best = -promised / (2.0 * (gained - promised)) if np.isfinite(gained) else 0.1
    return min(0.5, max(0.1, best))


def _descent(function: Function, gradient: Weights, steps: deque[tuple[Weights, Weights, float]]) -> Weights:
    """Return the direction of the next step, the two-loop recursion of L-BFGS applied to the gradient."""
    rest = gradient.copy()
    shares = []
    for step, change, curvature in reversed(steps):
        share = _dot(step, rest) / curvature
        _add(change, rest, -share)
        shares.append(share)
    direction = function.precondition(rest)
    if steps:
        # Brings the guess of the curvature to the scale that the last step saw.
        step, change, curvature = steps[-1]
        direction *= np.float32(curvature / _dot(change, function.precondition(change)))
    for (step, change, curvature), share in zip(steps, reversed(shares), strict=True):
        _add(step, direction, share - _dot(change, direction) / curvature)
    np.negative(direction, out=direction)
    return direction


def _dot(one: Weights, other: Weights) -> float:
    return float(sdot(one.ravel(), other.ravel()))


def _add(what: Weights, to: Weights, times: float) -> None:
    """Add ``times * what`` to ``to``, in place."""
    saxpy(what.ravel(), to.ravel(), a=times)
