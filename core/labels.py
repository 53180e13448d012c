"""The ordered set of labels a classifier answers with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from core.errors import UnknownLabel

_SHOWN = 5


@dataclass(frozen=True)
class LabelSet:
    """Labels in the order of the head's rows; the order is part of the bundle and never changes.

    >>> labels = LabelSet.of(["no", "yes", "no"])
    >>> labels.names, labels.index("yes")
    (('no', 'yes'), 1)
    """

    names: tuple[str, ...]
    _places: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        places = {name: place for place, name in enumerate(self.names)}
        if len(places) != len(self.names):
            raise ValueError(f"labels must differ, got {len(self.names) - len(places)} repeated")
        object.__setattr__(self, "_places", places)

    @classmethod
    def of(cls, labels: Iterable[str]) -> LabelSet:
        """Return the distinct labels in sorted order."""
        return cls(tuple(sorted(set(labels))))

    def index(self, label: str) -> int:
        """Return the row of ``label``.

        Raises:
            UnknownLabel: with the nearest known labels in ``details['nearest']``.
        """
        place = self._places.get(label)
        if place is None:
            nearest = self.nearest(label)
            raise UnknownLabel(
                f"label is not one of the {len(self.names)} known labels; nearest: {', '.join(nearest)}",
                nearest=nearest,
                known_count=len(self.names),
            )
        return place

    def nearest(self, label: str) -> list[str]:
        """Return up to five known labels that look most like ``label``, best first; never empty."""
        folded = {name.casefold(): name for name in self.names}
        close = difflib.get_close_matches(label.casefold()[:200], folded, n=_SHOWN, cutoff=0.4)
        return [folded[name] for name in close] or list(self.names[:_SHOWN])

    def __contains__(self, label: object) -> bool:
        return label in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
