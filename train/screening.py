"""What training may learn of the store's corrections: screened with the champion's help, the findings kept in the store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.registry import Registry
from core.settings import Settings
from feedback.consensus import Vote
from feedback.dataset import BaseDataset
from feedback.labels import with_labels_of
from feedback.snapshot import Snapshot
from feedback.store import Store
from feedback.suspicion import Evidence, Limits
from feedback.trust import Trusted, trust
from train.scoring import scores_of

log = logging.getLogger("hone.learner")


def screen_now(settings: Settings, store: Store, registry: Registry, champion: str) -> Trusted:
    """Return what may be learned as things stand, from the champion's own base data; see :func:`screen`."""
    base = BaseDataset.load(settings.home.datasets, registry.manifest(champion).lineage.dataset)
    examples = with_labels_of(store.label_book(), base.examples)
    return screen(settings, store, registry, champion, replace(base, examples=tuple(examples)))


def screen(settings: Settings, store: Store, registry: Registry, champion: str, base: BaseDataset) -> Trusted:
    """Return what may be learned; every suspicion, and what the model had said of each new correction, is in the store then.

    Raises:
        StoreUnavailable: the store does not answer.
        DataError: the champion's snapshot was altered.
    """
    votes = store.votes()
    known = {example.text_key: example.label for example in base.examples if example.split != "train"}
    evidence = store.evidence()
    fresh = [vote for vote in votes if vote.sequence not in evidence]
    evidence |= _evidence(fresh, settings, registry, champion, base)
    book = store.label_book()
    # Models go by the names that labels had when they learned; of a label that is new to them they can say nothing.
    taught = {book.now(label) for label in registry.manifest(champion).labels}
    judged = {vote.sequence for vote in votes if vote.label in taught}
    said = {
        sequence: replace(item, label=book.now(item.label) or item.label)
        for sequence, item in evidence.items()
        if sequence in judged
    }
    trusted = trust(votes, known, said, Limits.of(settings), store.standing())
    store.keep_suspicions(trusted.suspicions, evidence, [vote.sequence for vote in votes])
    if trusted.suspicions:
        log.info("corrections are held back", extra={"corrections": len(trusted.suspicions), "of": len(votes)})
    return trusted


def _evidence(
    votes: Sequence[Vote], settings: Settings, registry: Registry, champion: str, base: BaseDataset
) -> dict[int, Evidence]:
    """Return what a model that had not learned from it said of each vote's text, where there is such a model.

    That is the version that answered, or where no answer is kept the champion. Texts that it was trained on say nothing: it
    repeats what it was told.
    """
    if not votes:
        return {}
    taught = {example.text_key for example in base.examples if example.split == "train"}
    taught |= _learned(settings, registry, champion)
    unseen = [vote for vote in votes if vote.text_key not in taught]
    found = {
        vote.sequence: Evidence(vote.model_version, vote.predicted_label, vote.score)
        for vote in unseen
        if vote.model_version is not None and vote.predicted_label is not None and vote.score is not None
    }
    ask = [vote for vote in unseen if vote.sequence not in found]
    if ask:
        labels = registry.manifest(champion).labels
        scores = scores_of(registry.path(champion), [vote.text for vote in ask], settings.home.cache)
        best = scores.argmax(axis=1)
        sure = scores[np.arange(len(ask)), best]
        found |= {
            vote.sequence: Evidence(champion, labels[int(place)], float(score))
            for vote, place, score in zip(ask, best, sure, strict=True)
        }
    return found


def _learned(settings: Settings, registry: Registry, champion: str) -> set[str]:
    lineage = registry.manifest(champion).lineage
    snapshot = Snapshot.load(settings.home.snapshots, lineage.snapshot)
    return {example.text_key for example in snapshot.learned(lineage.speed)}
