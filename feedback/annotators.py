"""How far annotators agree and are to be relied on, as people are shown it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from core.quality_bodies import AnnotatorAnswer, AnnotatorsAnswer
from feedback.agreement import alpha, alpha_by_annotator, alpha_by_label
from feedback.consensus import ANONYMOUS, Vote, find_consensus
from feedback.contrary import Contrary, contrary_annotators
from feedback.store import Store


def annotators_of(store: Store, contrary_ratio: float) -> AnnotatorsAnswer:
    """Return what all votes in the store say of those who cast them; ``contrary_ratio`` as :class:`feedback.suspicion.Limits`.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    votes, book = store.votes(), store.label_book()
    said = {sequence: replace(item, label=book.now(item.label) or item.label) for sequence, item in store.evidence().items()}
    return describe(votes, store.quarantined_by_annotator(), contrary_annotators(votes, said, contrary_ratio))


def describe(votes: Sequence[Vote], quarantined: Mapping[str, int], contrary: Mapping[str, Contrary]) -> AnnotatorsAnswer:
    """Return reliabilities, the highest first, and agreement; ``quarantined`` are numbers of corrections by annotator."""
    units: dict[str, list[tuple[str, str]]] = {}
    for vote in votes:
        units.setdefault(vote.text_key, []).append((vote.annotator, vote.label))
    shared = {key: unit for key, unit in units.items() if len(unit) > 1}
    labels = {key: [label for _, label in unit] for key, unit in shared.items()}
    alphas = alpha_by_annotator(shared)
    found = [
        AnnotatorAnswer(
            annotator=None if item.annotator == ANONYMOUS else item.annotator,
            votes=item.votes,
            judged=item.judged,
            accuracy=item.accuracy,
            low=item.low,
            high=item.high,
            alpha=alphas.get(item.annotator),
            quarantined=quarantined.get(item.annotator, 0),
            contrary=item.annotator in contrary,
        )
        for item in find_consensus(votes, {}, contrary).reliabilities
    ]
    return AnnotatorsAnswer(
        annotators=found, alpha=alpha(labels.values()), alpha_by_label=alpha_by_label(labels), shared_texts=len(shared)
    )
