"""The tests behind the gate's rules: exact where rows are few, and cut down for every look at the same rows."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

# The normal distribution's quantile for one side of 95%.
Z = 1.644854
# What "surely" may err by, over all looks at the same rows.
SURE_LEVEL = 0.001
_HALVINGS = 40
# Of the bound on weighted sums of signs: 1 / (4 P(Z >= sqrt 2)).
_SIGN_FACTOR = 3.1787
# From so many gains on the chance of their signs is approximated. On fewer rows temperatures are fitted too well: with 20 here
# and no floor, load_tests.gate_power promoted equal models in 5% of its trials with 40 recent rows, and in 1% two points worse.
_APPROXIMATED = 100
# What the approximation of the chance of signs may err by, as a share of it.
_SADDLEPOINT_ERROR = 0.2


def mcnemar(better: int, worse: int) -> float:
    """Return the one-sided p-value that ``better`` wins out of ``better + worse`` discordant rows are mere chance.

    The exact (binomial) form of McNemar's test (McNemar 1947, Psychometrika 12).

    >>> mcnemar(5, 0)
    0.03125
    """
    # Costs a second to import, which every start of a replica or a command would pay.
    from scipy.stats import binom

    total = better + worse
    return float(binom.sf(better - 1, total, 0.5)) if total else 1.0


def sign_flips(gains: NDArray[np.float64]) -> float:
    """Return the one-sided p-value of ``gains`` (n,) where each might as well have had the other sign.

    Two models that are equally good might change places on any row, which turns the sign of what one gains over the other
    (Fisher's randomisation test of paired differences, The Design of Experiments 1935, section 21). The chance of a sum as
    large is found by a saddlepoint approximation (Robinson 1982, Journal of the Royal Statistical Society B 44, 91-101), with a
    fifth added for what it errs by: that is enough for 120 rows also where a few gains are much larger than all others
    (tests/core/test_gate_statistics.py).

    It is never less than the normal distribution's tail, which is wider where a few gains are: likelihoods are read at
    temperatures fitted on the same rows, so those few are not as free as the test takes them to be. Nor is it more than what
    holds for any gains, and is used where they are fewer than a hundred: 3.1787 times that tail (Bentkus and Dzindzalieta
    2015, Bernoulli 21, 1231-1261).

    >>> round(sign_flips(np.full(16, 0.1)), 6), sign_flips(np.array([0.1, -0.1])), sign_flips(np.zeros(3))
    (0.000101, 1.0, 1.0)
    """
    sizes, total = np.abs(gains[gains != 0.0]), float(gains.sum())
    spread = float(np.sqrt((sizes**2).sum()))
    if total <= 0.0 or spread == 0.0:
        return 1.0
    tail = NormalDist().cdf(-total / spread)
    bound = min(1.0, _SIGN_FACTOR * tail)
    if len(sizes) < _APPROXIMATED:
        return bound
    return min(bound, max(tail, (1.0 + _SADDLEPOINT_ERROR) * _saddlepoint(sizes, total)))


def _saddlepoint(sizes: NDArray[np.float64], total: float) -> float:
    """Return the chance that ``sizes`` (n,) with random signs come to ``total`` or more (Lugannani and Rice's formula)."""
    from scipy.optimize import brentq

    # Sums come in steps; the smallest size is half of the least of them, and where all are equal the continuity correction.
    total -= float(sizes.min())
    spread = float(np.sqrt((sizes**2).sum()))
    if total < 1e-3 * spread:
        return 0.5
    if total > (1.0 - 1e-9) * float(sizes.sum()):
        return float(0.5 ** len(sizes))

    def excess(tilt: float) -> float:
        return float((sizes * np.tanh(tilt * sizes)).sum()) - total

    high = total / spread**2
    while excess(high) < 0.0:
        high *= 2.0
    tilt = float(brentq(excess, 0.0, high))
    tilted = tilt * sizes
    # log cosh, and its second derivative, without overflow.
    cumulant = float((np.logaddexp(tilted, -tilted) - np.log(2.0)).sum())
    curvature = float((sizes**2 * (1.0 - np.tanh(tilted) ** 2)).sum())
    root, scaled = sqrt(2.0 * (tilt * total - cumulant)), tilt * sqrt(curvature)
    return min(0.5, NormalDist().cdf(-root) + NormalDist().pdf(root) * (1.0 / scaled - 1.0 / root))


def loss_bounds(better: int, worse: int, rows: int, z: float = Z) -> tuple[float, float]:
    """Return a lower and an upper bound on the accuracy that is lost, ``worse - better`` of ``rows``, at the quantile ``z``.

    Wald's interval for paired rows with half a row added to both kinds of discordant ones (Agresti and Min 2005, Statistics in
    Medicine 24, 729-740), which holds its level where the plain one does not. Without rows nothing is known: -1 and 1.

    >>> [round(bound, 4) for bound in loss_bounds(60, 40, 1000)]
    [-0.0364, -0.0035]
    """
    if not rows:
        return -1.0, 1.0
    up, down, size = better + 0.5, worse + 0.5, rows + 2.0
    loss = (down - up) / size
    spread = z * sqrt(max(0.0, up + down - (down - up) ** 2 / size)) / size
    return max(-1.0, loss - spread), min(1.0, loss + spread)


def quantile(level: float) -> float:
    """Return how many standard deviations the normal distribution exceeds with the chance ``level``.

    >>> round(quantile(0.001), 6)
    3.090232
    """
    return -NormalDist().inv_cdf(level)


def sure_loss(better: int, worse: int, rows: int, z: float) -> float:
    """Return an upper bound on the accuracy that is lost, at the quantile ``z``, by the score test. Without rows: 1.

    The loss that the score test of paired proportions just does not reject (Tango 1998, Statistics in Medicine 17, 891-908).
    Wald's interval takes its width from what was seen, so it is narrow just where luck has made a loss look small; far out, at
    99.9%, it errs three times as often as it says, and this one does not.

    >>> z = quantile(0.001)
    >>> round(sure_loss(0, 0, 470, z), 4), round(sure_loss(20, 20, 1000, z), 4)
    (0.0199, 0.0215)
    """
    if not rows:
        return 1.0
    low, high = (worse - better) / rows, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _score(better, worse, rows, middle) > -z:
            low = middle
        else:
            high = middle
    return high


def _score(better: int, worse: int, rows: int, loss: float) -> float:
    """Return the score statistic of ``worse - better`` of ``rows`` rows where ``loss`` is what is really lost."""
    # The likeliest share of rows that are put right, given the loss, solves a quadratic equation.
    linear = better + worse - loss * (2 * rows + better - worse)
    share = (linear + sqrt(linear**2 + 8 * rows * better * loss * (1.0 - loss))) / (4 * rows) if loss > 0.0 else None
    if share is None:
        share = (better + worse) / (2 * rows)
    variance = rows * (2.0 * share + loss - loss * loss)
    distance = worse - better - rows * loss
    return distance / sqrt(variance) if variance > 0.0 else 0.0 if distance == 0 else distance * float("inf")


def more_than_chance(fixed: int, asked: int, fixed_elsewhere: int, wrong_elsewhere: int) -> float:
    """Return the chance that ``fixed`` or more of ``asked`` are put right at the rate of ``fixed_elsewhere / wrong_elsewhere``.

    Any two models differ, so another model puts some of the champion's errors right by chance; errors that nobody chose say how
    many. That rate is known from few rows, so it is averaged over what it may be (the beta-binomial predictive distribution),
    beginning at a quarter with the weight of four rows.

    >>> round(more_than_chance(9, 10, 1, 20), 6)
    2e-06
    """
    from scipy.stats import betabinom

    if not asked:
        return 1.0
    return float(betabinom.sf(fixed - 1, asked, fixed_elsewhere + 1, wrong_elsewhere - fixed_elsewhere + 3))


def wilson(right: float, rows: float, z: float = 1.959964) -> tuple[float, float]:
    """Return the bounds of the share ``right / rows`` (Wilson 1927, Journal of the American Statistical Association 22).

    >>> [round(bound, 4) for bound in wilson(90, 100)]
    [0.8256, 0.9448]
    """
    share, spread = right / rows, z * z / rows
    middle = (share + spread / 2.0) / (1.0 + spread)
    half = z / (1.0 + spread) * sqrt(share * (1.0 - share) / rows + spread / (4.0 * rows))
    return max(0.0, middle - half), min(1.0, middle + half)


def at_most_chance(right: int, rows: int, ratio: float) -> float:
    """Return the chance of ``right`` or fewer right answers of ``rows`` where each is right with the chance ``ratio``.

    >>> at_most_chance(0, 5, 0.5)
    0.03125
    """
    from scipy.stats import binom

    return float(binom.cdf(right, rows, ratio))


def spending(look: float, weight: float = 1.0) -> float:
    """Return the share of a level that the ``look``-th test on the same rows may use; all looks together use it up.

    ``1 / (k (k + 1))`` sums to 1, and by the union bound holds however the tests depend on each other (alpha spending: Lan and
    DeMets 1983, Biometrika 70). A look may weigh less than 1, as what is known of a candidate before it is looked at says: it
    uses less, and leaves more to those after it. ``look`` is then the sum of weights with its own, and the share what
    ``s / (1 + s)`` grows by.

    >>> [round(1 / spending(look)) for look in (1, 2, 4)], round(sum(map(spending, range(1, 10_000))), 3)
    ([2, 6, 20], 1.0)
    >>> round(spending(0.1, 0.1) + spending(1.1), 6) == round(spending(1.1, 1.1), 6)
    True
    """
    return weight / ((1.0 + look - weight) * (1.0 + look))


def least_gain(discordant: int, rows: int, level: float) -> float | None:
    """Return the least gain in accuracy that :func:`mcnemar` takes for one at ``level`` where two models differ on
    ``discordant`` of ``rows`` rows; None where even the greatest is too small.

    >>> least_gain(60, 1000, 0.025), least_gain(5, 1000, 0.025)
    (0.018, None)
    """
    low, high = 0, discordant
    if not rows or mcnemar(discordant, 0) > level:
        return None
    while low < high:
        middle = (low + high) // 2
        if mcnemar(middle, discordant - middle) <= level:
            high = middle
        else:
            low = middle + 1
    return (2 * low - discordant) / rows
