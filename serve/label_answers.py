"""How every label stands, for people to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.label_bodies import LabelState, LabelSummary
from core.label_book import LabelBook
from feedback.labels import Backing


def label_summaries(book: LabelBook, known: Sequence[str], backing: Mapping[str, Backing]) -> list[LabelSummary]:
    """Return the champion's labels, ``known``, in their order, then all others that something was decided about, by name."""
    others = sorted((book.added | book.proposed | book.rejected | set(book.becomes)) - set(known))
    return [_summary(label, _state(label, book, label in known), book, backing.get(label)) for label in [*known, *others]]


def _state(label: str, book: LabelBook, used: bool) -> LabelState:
    if label in book.becomes:
        return "retired" if book.becomes[label] is None else "replaced"
    if used:
        return "used"
    if label in book.added:
        return "accepted"
    return "proposed" if label in book.proposed else "rejected"


def _summary(label: str, state: LabelState, book: LabelBook, backing: Backing | None) -> LabelSummary:
    counts = backing if state == "proposed" else None
    return LabelSummary(
        label=label,
        state=state,
        stands_for=book.now(label) if state in ("used", "accepted", "replaced") else None,
        texts=counts.texts if counts else None,
        annotators=counts.annotators if counts else None,
    )
