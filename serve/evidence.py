"""Evidence that a share is above a limit, which may be looked at after every observation.

An ordinary test that is looked at again and again finds something sooner or later. The evidence here is the wealth of a gambler
who bets on the share being higher than the limit: while it is not, the chance that the wealth ever reaches 1 / alpha is alpha
at most (Ville 1939, *Étude critique de la notion de collectif*). The bets are those of Wald's sequential test (Wald 1945,
Annals of Mathematical Statistics 16) against a few alternatives at once, so none has to be guessed (Robbins 1970, Annals of
Mathematical Statistics 41; Waudby-Smith and Ramdas 2024, JRSS B 86, for the reading as bets).
"""

from __future__ import annotations

from math import exp, log

# A limit of nothing at all would make the first hit infinite evidence.
_LEAST_LIMIT = 1e-4
# Where between the limit and 1 the alternatives lie.
_STEPS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)


def log_evidence(hits: int, trials: int, limit: float) -> float:
    """Return the natural logarithm of the evidence that hits are more frequent than ``limit``; 0 is none.

    While the true share is ``limit`` or less, the chance that this ever reaches ``log(1 / alpha)`` is alpha at most.

    >>> log_evidence(0, 0, 0.1)
    0.0
    >>> log_evidence(9, 10, 0.1) > log(1_000_000)
    True
    >>> log_evidence(1, 10, 0.1) < 0
    True
    """
    if limit > 1.0 - _LEAST_LIMIT:
        return 0.0
    limit = max(limit, _LEAST_LIMIT)
    rows = []
    for step in _STEPS:
        share = limit + (1.0 - limit) * step
        rows.append(hits * log(share / limit) + (trials - hits) * log((1.0 - share) / (1.0 - limit)))
    top = max(rows)
    return top + log(sum(exp(row - top) for row in rows) / len(rows))
