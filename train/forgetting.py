"""Whom a candidate is held against beside the champion: the best of those that served before it.

Each promotion may lose a little of what is held out, and a champion of ten promotions has only ever been compared with the one
before. So what is forgotten is counted from the best there was, in the sense of Chaudhry et al. 2018 (arXiv 1801.10112).
"""

from __future__ import annotations

from core.errors import BundleError, UnknownVersion
from core.registry import Registry


def best_before(registry: Registry, champion: str) -> str | None:
    """Return the version that served before ``champion`` and was more often right on its holdout; None where none was.

    It is looked for back to the latest version that a person promoted without the gate: whoever did so took what was
    forgotten by then for granted.
    """
    served: set[str] = set()
    moves = registry.history(limit=None)
    approved = {move.version for move in moves if move.action == "approve"}
    for move in reversed(moves):
        if move.action not in ("promote", "rollback"):
            continue
        served.add(move.version)
        by_hand = move.action == "promote" and move.by != "gate" and move.version not in approved
        if by_hand or move.override:
            break
    right = {version: accuracy for version in served if (accuracy := _accuracy(registry, version)) is not None}
    best = max(right, key=lambda version: (right[version], version), default=None)
    if best is None or champion not in right or right[best] <= right[champion]:
        return None
    return best


def _accuracy(registry: Registry, version: str) -> float | None:
    try:
        return registry.manifest(version).metrics.get("accuracy")
    except (BundleError, UnknownVersion):
        # It was removed by hand, or cannot be read; it is no measure any more.
        return None
