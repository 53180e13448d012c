"""What the documentation quotes, and how each of it is measured again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from load_tests.bench import measuring
from load_tests.bench.measuring import Work

README, SERVING = "README.md", "docs/serving.md"


@dataclass(frozen=True)
class Quote:
    """A number as it stands in a page, in the table's row that begins with ``row``; measured in the same unit."""

    name: str
    row: str
    text: str
    page: str = README

    @property
    def value(self) -> float:
        """The number.

        >>> Quote("accuracy", "", "93.75%").value, Quote("answers", "", "22,822").value
        (93.75, 22822.0)
        """
        return float(self.text.rstrip("%").replace(",", ""))

    def ratio(self, found: float) -> float | None:
        """Return what was found as a multiple of what is quoted; None of nothing."""
        return found / self.value if self.value else None


@dataclass(frozen=True)
class Figure:
    """Numbers that one measurement gives together."""

    name: str
    title: str
    minutes: int
    measure: Callable[[Work], dict[str, float]]
    quotes: tuple[Quote, ...]


_ENGINE = "served int8 engine against torch, all test rows"
_LOOP = "three intents taught wrongly"

FIGURES = (
    Figure(
        "head",
        "BANKING77, head alone",
        3,
        measuring.head,
        (
            Quote("accuracy", "BANKING77, head alone", "93.75%"),
            Quote("train_s", "BANKING77, head alone", "101"),
        ),
    ),
    Figure(
        "full",
        "BANKING77, encoder too, and the engine against torch",
        25,
        measuring.full,
        (
            Quote("accuracy", "BANKING77, encoder too", "94.35%"),
            Quote("train_min", "BANKING77, encoder too", "16"),
            Quote("agreement", _ENGINE, "99.32%"),
            Quote("fp32_accuracy", _ENGINE, "94.45%"),
        ),
    ),
    Figure(
        "members",
        "BANKING77, the average of three trainings",
        30,
        measuring.members,
        (Quote("accuracy", "BANKING77, the average of three trainings", "94.76%"),),
    ),
    Figure(
        "reviews",
        "ChnSentiCorp without copies",
        4,
        measuring.reviews,
        (Quote("accuracy", "ChnSentiCorp", "92.45%"), Quote("rows", "ChnSentiCorp", "869")),
    ),
    Figure(
        "loop",
        "three intents taught wrongly, corrected under load",
        5,
        measuring.loop,
        (
            Quote("recall_before", _LOOP, "0.0%"),
            Quote("recall_after", _LOOP, "54.2%"),
            Quote("others_before", _LOOP, "94.12%"),
            Quote("others_after", _LOOP, "94.19%"),
            Quote("answers", _LOOP, "22,115"),
        ),
    ),
    Figure(
        "startup",
        "first answer, answer after a second start, Ctrl-C",
        3,
        measuring.startup,
        (
            Quote("first_answer_s", "first answer", "79.5"),
            Quote("second_answer_s", "first answer", "14.7"),
            Quote("stop_s", "first answer", "6.2"),
        ),
    ),
    Figure(
        "serving",
        "serving, against the raw engine and the expert's server",
        8,
        measuring.serving,
        (
            Quote("batches_to_raw", "batches of 32 texts ÷ raw engine", "0.78", SERVING),
            Quote("singles_to_raw", "single texts, 32 connections ÷ raw engine", "0.495", SERVING),
            Quote("singles_to_expert", "single texts, 32 connections ÷ the expert's server", "1.19", SERVING),
        ),
    ),
)
