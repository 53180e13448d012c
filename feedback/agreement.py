"""How far annotators agree beyond chance: Krippendorff's alpha for nominal data.

K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): one minus observed over expected disagreement, with any
number of annotators and votes missing anywhere. 1 is full agreement, 0 what chance gives, below 0 systematic disagreement.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def alpha(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Return alpha of the labels that each unit got; None where no unit has two, or all labels are one.

    >>> alpha([["a", "a"], ["b", "b"], ["a", "b"]])
    0.4444444444444444
    """
    observed, totals, pairable = 0.0, Counter[Hashable](), 0
    for unit in units:
        if len(unit) < 2:
            continue
        counts = Counter(unit)
        size = len(unit)
        # Ordered pairs of unlike labels, each unit weighing as many votes as it has.
        observed += (size * size - sum(count * count for count in counts.values())) / (size - 1)
        totals.update(counts)
        pairable += size
    expected = pairable * pairable - sum(count * count for count in totals.values())
    if not expected:
        return None
    return 1.0 - (pairable - 1) * observed / expected


def alpha_by_label(units: Mapping[Key, Sequence[str]]) -> dict[str, float | None]:
    """Return for each label the alpha of the question whether it is that label or another one."""
    of_label: dict[str, list[Key]] = defaultdict(list)
    for key, unit in units.items():
        for label in set(unit):
            of_label[label].append(key)
    everything = [len(unit) for unit in units.values() if len(unit) > 1]
    votes, texts = sum(everything), len(everything)
    return {label: _one_label(label, [units[key] for key in keys], votes, texts) for label, keys in sorted(of_label.items())}


def _one_label(label: str, units: Sequence[Sequence[str]], votes: int, texts: int) -> float | None:
    """Return alpha of one label against the rest; only the ``units`` with that label are looked at, of all ``texts``."""
    if not texts:
        return None
    observed, named = 0.0, 0
    for unit in units:
        size, count = len(unit), sum(given == label for given in unit)
        if size < 2:
            continue
        observed += 2.0 * count * (size - count) / (size - 1)
        named += count
    expected = 2.0 * named * (votes - named)
    return 1.0 - (votes - 1) * observed / expected if expected else None


def alpha_by_annotator(units: Mapping[Key, Sequence[tuple[str, str]]]) -> dict[str, float | None]:
    """Return for each annotator the alpha of the pairs of votes of which one is theirs.

    ``units`` hold pairs of annotator and label. None where an annotator shares no text with anybody, or all such votes agree
    on a single label.
    """
    pairs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for unit in units.values():
        for place, (who, label) in enumerate(unit):
            pairs[who].extend((label, other) for at, (_, other) in enumerate(unit) if at != place)
    names = {who for unit in units.values() for who, _ in unit}
    return {who: alpha(pairs[who]) for who in sorted(names)}
