"""What to ask people next: which predictions are worth a look, and in which mixture with what else waits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from core.quality_bodies import Stratum

FloatMatrix = NDArray[np.float32]
FloatVector = NDArray[np.float64]

# How many candidates stand behind each place; more of them are less uncertain ones.
_CANDIDATES_PER_PICK = 4


def margins(scores: FloatMatrix) -> FloatVector:
    """Return how far apart the two best labels of each row of probabilities (n, c) are: 0 is most uncertain."""
    if scores.shape[1] < 2:
        return np.ones(len(scores))
    best = np.partition(scores, -2, axis=1)[:, -2:]
    return np.asarray(best[:, 1] - best[:, 0], dtype=np.float64)


def pick_uncertain_and_diverse(margin: FloatVector, embeddings: FloatMatrix | None, count: int, *, seed: int = 0) -> list[int]:
    """Return the places of ``count`` rows that are uncertain and unlike each other, the most uncertain first.

    The most uncertain candidates are clustered, and of each cluster the most uncertain is taken: alone, uncertainty asks the
    same question many times (Zhdanov, arXiv 1901.05954).

    Args:
        margin: of each row (n,), see :func:`margins`.
        embeddings: rows of length 1 (n, h), or None to go by uncertainty alone.
        count: how many; all of them where there are no more.
        seed: of the clustering.
    """
    order = np.argsort(margin, kind="stable")
    if embeddings is None or len(order) <= count:
        return [int(place) for place in order[:count]]
    candidates = order[: count * _CANDIDATES_PER_PICK]
    clusters = MiniBatchKMeans(n_clusters=count, n_init=1, random_state=seed, batch_size=1024).fit_predict(
        embeddings[candidates], sample_weight=1.0 - margin[candidates] + 1e-3
    )
    picked: dict[int, int] = {}
    for place, cluster in zip(candidates, clusters, strict=True):
        picked.setdefault(int(cluster), int(place))
    chosen = set(picked.values())
    # Fewer clusters than asked for came out where candidates are alike; the most uncertain of the rest fill up.
    rest = [int(place) for place in candidates if int(place) not in chosen]
    chosen.update(rest[: count - len(chosen)])
    return sorted(chosen, key=lambda place: (margin[place], place))


def next_strata(
    asked: Mapping[Stratum, int], waiting: Mapping[Stratum, int], shares: Mapping[Stratum, float], count: int
) -> list[Stratum]:
    """Return why the next ``count`` items should be asked, so that what was asked so far comes near to ``shares``.

    A stratum without items that wait gives its turn to the others.
    """
    asked_of, left = dict(asked), dict(waiting)
    turns: list[Stratum] = []
    while len(turns) < count:
        open_ = [stratum for stratum in shares if left.get(stratum, 0) > 0]
        if not open_:
            break
        total = sum(asked_of.get(stratum, 0) for stratum in shares) + 1
        due = max(open_, key=lambda stratum: shares[stratum] * total - asked_of.get(stratum, 0))
        turns.append(due)
        asked_of[due] = asked_of.get(due, 0) + 1
        left[due] -= 1
    return turns
