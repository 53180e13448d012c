"""Who says what of which text: decided by the seed and the text alone, so that every strategy meets the same people."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.text import text_key
from deploy.simulate.plan import Plan
from deploy.simulate.stream import Row


@dataclass(frozen=True)
class Voice:
    """One annotator's word on one text."""

    annotator: str
    label: str
    hostile: bool


@dataclass(frozen=True)
class People:
    """Annotators who know the right label, and say it or not as the plan has it; ``labels`` are all there are."""

    plan: Plan
    labels: Sequence[str]

    def corrects(self, row: Row) -> bool:
        """Return whether the user who got a wrong answer to this text corrects it."""
        return self._chance("corrects", row.text) < self.plan.correct_ratio

    def overlaps(self, row: Row) -> bool:
        """Return whether a second annotator speaks of this text too."""
        return self._chance("overlaps", row.text) < self.plan.overlap_ratio

    def first(self, row: Row) -> Voice:
        """Return what the annotator says who is asked first."""
        return self._voice(row, 0)

    def second(self, row: Row, *, besides: str | None = None) -> Voice:
        """Return what another annotator says, who is not ``besides``."""
        turn = 1
        while (voice := self._voice(row, turn)).annotator == besides:
            turn += 1
        return voice

    def _voice(self, row: Row, turn: int) -> Voice:
        plan = self.plan
        hostile = self._chance(f"hostile {turn}", row.text) < plan.hostile_ratio
        # As many of each kind as makes every one of them speak as often as any other.
        names = plan.annotators if not hostile else self.hostile_annotators
        kind = "hostile" if hostile else "annotator"
        annotator = f"{kind}-{1 + int(self._chance(f'who {turn}', row.text) * names)}"
        wrong = hostile or self._chance(f"noise {turn}", row.text) < plan.noise_ratio
        return Voice(annotator, self._wrong(row, turn) if wrong else row.label, hostile)

    @property
    def hostile_annotators(self) -> int:
        """How many hostile annotators there are, as busy as the honest ones."""
        ratio = self.plan.hostile_ratio
        return max(1, round(self.plan.annotators * ratio / (1.0 - ratio))) if ratio else 0

    def _wrong(self, row: Row, turn: int) -> str:
        others = [label for label in self.labels if label != row.label]
        return others[int(self._chance(f"wrong {turn}", row.text) * len(others))] if others else row.label

    def _chance(self, what: str, text: str) -> float:
        """Return a number of [0, 1) that depends on the seed, on what is decided, and on the text."""
        said = f"{self.plan.seed}\0{what}\0{text_key(text)}".encode()
        return int.from_bytes(hashlib.blake2b(said, digest_size=7).digest()) / 2**56


def seeded_ids(seed: int, first: int) -> Callable[[int], list[str]]:
    """Return what names predictions, the ``first``, the next and so on, by the seed: the audit draws by these names.

    >>> seeded_ids(0, 7)(2)[1] == seeded_ids(0, 8)(1)[0]
    True
    """
    place = first

    def ids(count: int) -> list[str]:
        nonlocal place
        found = [
            "p_" + hashlib.blake2b(f"{seed}\0prediction\0{number}".encode(), digest_size=16).hexdigest()
            for number in range(place, place + count)
        ]
        place += count
        return found

    return ids
