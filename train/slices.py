"""Parts of the holdout on which a candidate must not be worse: by script, by length, and by what came with the texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from feedback.examples import Example

IntVector = NDArray[np.int64]

# On fewer rows no loss would be significant among many slices, and more slices would hide each other's.
LEAST_ROWS = 30
MOST_SLICES = 24
_MOST_VALUES = 12
_FIRST_WIDE = "\u3040"
_WIDE_RATIO = 0.3


def slices_of(examples: Sequence[Example]) -> dict[str, IntVector]:
    """Return the places of each slice by its name, the largest slices first; parts that are all rows, or few, are left out.

    Metadata gives a slice for each value of a field that takes few. Values are the data set's own words, as labels are, and
    show in the gate's report; a field with a value for each row, such as an id, gives none.
    """
    found: dict[str, IntVector] = {}
    for name, values in _fields(examples):
        groups: dict[str, list[int]] = defaultdict(list)
        for place, value in enumerate(values):
            if value is not None:
                groups[value].append(place)
        if not 2 <= len(groups) <= _MOST_VALUES:
            continue
        found |= {f"{name} {value}": np.array(places) for value, places in groups.items() if len(places) >= LEAST_ROWS}
    largest = sorted(found, key=lambda name: (-len(found[name]), name))[:MOST_SLICES]
    return {name: found[name] for name in largest}


def _fields(examples: Sequence[Example]) -> Iterator[tuple[str, list[str | None]]]:
    """Give each field by name with its value for every row."""
    lengths = np.array([len(example.text) for example in examples])
    if len(lengths):
        short, long = np.quantile(lengths, (1 / 3, 2 / 3))
        yield "length", ["short" if n <= short else "long" if n > long else "middling" for n in lengths]
    yield "script", ["Han, kana or Hangul" if _is_wide(example.text) else "other" for example in examples]
    for name in sorted({name for example in examples for name in example.metadata})[:MOST_SLICES]:
        yield name, [_value(example.metadata.get(name)) for example in examples]


def _value(value: object) -> str | None:
    return str(value) if isinstance(value, str | bool | int) and len(str(value)) <= 40 else None


def _is_wide(text: str) -> bool:
    letters = [sign for sign in text[:500] if sign.isalpha()]
    return sum(sign >= _FIRST_WIDE for sign in letters) > _WIDE_RATIO * len(letters)
