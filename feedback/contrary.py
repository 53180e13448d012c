"""Annotators who contradict the model far more often than the others do, on texts that chance drew for them.

Whoever corrects differs from the model in every correction, so corrections tell nothing of who makes them. What the audit hands
out does: chance drew it, nobody sees the model's answer, and how often an annotator differs from it there is an estimate of how
often the model is wrong, which must come out alike for all. One for whom it is certainly another model than for everybody
else, and a worse one than a coin, says the opposite of what is so. No text needs a second opinion for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.gate_statistics import wilson

if TYPE_CHECKING:
    from feedback.consensus import Vote
    from feedback.suspicion import Evidence

# Each side at 97.5%.
_Z = 1.959964
# One other person may be the one who is wrong.
_LEAST_OTHERS = 2


@dataclass(frozen=True)
class Contrary:
    """Of ``drawn`` texts the annotator gave ``against`` another label than the model; each bound holds with 97.5%."""

    drawn: int
    against: int
    low: float
    others_high: float


def contrary_annotators(votes: Iterable[Vote], evidence: Mapping[int, Evidence], least_ratio: float) -> dict[str, Contrary]:
    """Return the annotators who certainly differ from the model on more than ``least_ratio`` of what chance drew for them.

    And certainly more often than all others together, of whom there are two at least. Votes for a label that no model has ever
    said tell nothing: who uses a new label first differs from all models, and rightly.

    Args:
        votes: the last word of each annotator on each text.
        evidence: what a model that had not learned from it said of a vote's text, by sequence number.
        least_ratio: 0 to 1; with 1 nobody is found.
    """
    drawn: Counter[str] = Counter()
    against: Counter[str] = Counter()
    taught = {said.label for said in evidence.values()}
    for vote in votes:
        said = evidence.get(vote.sequence)
        if vote.drawn and said is not None and vote.label in taught:
            drawn[vote.annotator] += 1
            against[vote.annotator] += said.label != vote.label
    if len(drawn) <= _LEAST_OTHERS:
        return {}
    found = {}
    for annotator, count in drawn.items():
        low = wilson(against[annotator], count, _Z)[0]
        others_high = wilson(against.total() - against[annotator], drawn.total() - count, _Z)[1]
        if low > max(least_ratio, others_high):
            found[annotator] = Contrary(count, against[annotator], low, others_high)
    return found
