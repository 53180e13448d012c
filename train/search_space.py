"""The settings of fine-tuning that a search tries, and the trials it draws from them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue
from scipy.stats import qmc

from core.errors import InputError
from core.finetuning import FinetuneSettings

# What moves accuracy most comes first; the rest of the settings stay as they are unless somebody names them.
USUAL = (
    "learning_rate=2e-5:5e-4",
    "epochs=2:8",
    "weight_decay=0:0.1",
    "layer_decay=0.75:1",
    "label_smoothing=0:0.15",
    "schedule=linear,cosine",
)
# Bounds so far apart are meant as orders of magnitude.
_MAGNITUDES = 10.0


@dataclass(frozen=True)
class Dimension:
    """One setting: ``choices``, or what is between ``low`` and ``high``, both included."""

    name: str
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    choices: tuple[JsonValue, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Dimension:
        """Return the setting as it is written, ``name=low:high`` or ``name=a,b,c``.

        >>> Dimension.parse("learning_rate=1e-5:1e-3").at(0.5)
        0.0001
        >>> [Dimension.parse("epochs=2:4").at(share) for share in (0.0, 0.5, 0.99)]
        [2, 3, 4]

        Raises:
            InputError: it is written otherwise, or the bounds are no two rising numbers.
        """
        name, _, values = (part.strip() for part in text.partition("="))
        found = [_value(value.strip()) for value in values.replace(":", ",").split(",")]
        wrong = InputError(f"{text!r} is nothing to search; write name=low:high, or name=a,b,c")
        if not name or (None in found and "null" not in values) or len(found) < 2:
            raise wrong
        if ":" not in values:
            return cls(name, choices=tuple(found))
        low, high = found[0], found[-1]
        if len(found) != 2 or not _number(low) or not _number(high) or not low < high:  # type: ignore[operator] # just seen
            raise wrong
        return cls(name, float(low), float(high), isinstance(low, int) and isinstance(high, int))  # type: ignore[arg-type]

    def at(self, share: float) -> JsonValue:
        """Return the value that stands ``share`` (0 to 1) of the way through."""
        if self.choices:
            return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]
        if self.whole:
            return min(int(self.low) + int(share * (self.high - self.low + 1)), int(self.high))
        if self.low > 0 and self.high / self.low >= _MAGNITUDES:
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        # Three digits tell as much, and can be read.
        return float(f"{value:.3g}")


def draw(dimensions: Sequence[Dimension], trials: int, seed: int) -> list[dict[str, JsonValue]]:
    """Return what each of ``trials`` changes; the first changes nothing.

    Of the others each setting is drawn from every part of its range once (Latin hypercube; McKay, Beckman and Conover 1979,
    Technometrics 21), which few random trials would not do.
    """
    if trials < 2 or not dimensions:
        return [{}]
    shares: Any = qmc.LatinHypercube(len(dimensions), rng=seed).random(trials - 1)
    drawn = [{each.name: each.at(float(share)) for each, share in zip(dimensions, row, strict=True)} for row in shares]
    return [{}, *drawn]


def changed(settings: FinetuneSettings, changes: dict[str, Any]) -> FinetuneSettings:
    """Return the settings with what a trial changes.

    Raises:
        InputError: there is no such setting, or it cannot have that value.
    """
    from dataclasses import asdict

    from core.finetuning import finetuning

    return finetuning("balanced", {**asdict(settings), **changes})


def _value(text: str) -> JsonValue:
    try:
        found: JsonValue = json.loads(text)
    except ValueError:
        return text or None
    return found


def _number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
