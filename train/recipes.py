"""Ways to make an encoder smaller, and how they are written: ``tables+vocabulary+layers=4+rank=128``."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import InputError

_KNOWN = "tables, half, vocabulary, layers=N, rank=N"


@dataclass(frozen=True)
class Recipe:
    """What is done to the encoder.

    ``tables``: its embedding tables in 8 bits. ``half``: other weights that are 32-bit floats in 16. ``vocabulary``: only the
    pieces that the learned texts need. ``layers``: so many are kept. ``rank``: products of at most that rank. After the last
    two it is taught its old answers again.
    """

    tables: bool = False
    half: bool = False
    vocabulary: bool = False
    layers: int | None = None
    rank: int | None = None

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """Return the recipe that is written so.

        >>> Recipe.parse("layers=4+vocabulary").name
        'vocabulary+layers=4'

        Raises:
            InputError: when a part is unknown, or a number is not above 0.
        """
        found: dict[str, int | bool] = {}
        for part in text.split("+"):
            name, _, number = part.strip().partition("=")
            if name in ("tables", "half", "vocabulary") and not number:
                found[name] = True
            elif name in ("layers", "rank") and number.isdecimal() and int(number) > 0:
                found[name] = int(number)
            else:
                raise InputError(f"the recipe {text!r} has the part {part.strip()!r}; parts are {_KNOWN}, joined by +")
        return cls(**found)  # type: ignore[arg-type] # each name has the type it needs

    @property
    def name(self) -> str:
        """How the recipe is written."""
        parts = ["tables"] * self.tables + ["half"] * self.half + ["vocabulary"] * self.vocabulary
        parts += [f"{name}={value}" for name, value in (("layers", self.layers), ("rank", self.rank)) if value is not None]
        return "+".join(parts)

    @property
    def forgets(self) -> bool:
        """Whether the encoder has to be taught its answers again."""
        return self.layers is not None or self.rank is not None


def usual(layers: int) -> list[Recipe]:
    """Return the recipes that are tried unless others are named, for an encoder of so many layers."""
    kept = sorted({count for count in (round(layers * 2 / 3), round(layers / 2)) if 0 < count < layers}, reverse=True)
    return [
        Recipe(tables=True),
        Recipe(tables=True, vocabulary=True),
        *(Recipe(tables=True, vocabulary=True, layers=count) for count in kept),
    ]
