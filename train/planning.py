"""Keeping the review queue filled: the audit's draws, doubtful corrections, and predictions that are worth a look."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.bundle import read_manifest
from core.registries import registry_of
from core.settings import Settings
from core.text import clean
from feedback.accuracy import is_drawn
from feedback.review_items import Candidate
from feedback.sampling import margins, pick_uncertain_and_diverse
from feedback.store import Store
from train.encode import EmbeddingCache, ExportedEncoder
from train.scoring import scores_of
from train.screening import screen_now

FloatMatrix = NDArray[np.float32]

log = logging.getLogger("hone.learner")

# What is looked at for each place in the queue; reading them costs the learner some milliseconds each.
_CANDIDATES_PER_ITEM = 5


class ReviewPlanner:
    """Fills the queue of one store by the settings; made once, since it remembers how far it has read."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._registry = registry_of(settings)
        self._drawn_until: datetime | None = None
        self._screened_up_to = 0

    def fill(self) -> int:
        """Bring the queue up to date and return how many uncertain predictions were added.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        store, settings = self._store, self._settings
        self._drawn_until = store.draw_audit(settings.audit_ratio, self._drawn_until)
        champion = self._registry.aliases().champion
        if champion is None:
            return 0
        self._screen(champion)
        return self._add_uncertain(champion) if settings.review_queue_items else 0

    def _screen(self, champion: str) -> None:
        newest = self._store.last_sequence()
        if newest > self._screened_up_to:
            screen_now(self._settings, self._store, self._registry, champion)
            self._screened_up_to = newest
        self._store.ask_about_suspects()

    def _add_uncertain(self, champion: str) -> int:
        store, settings = self._store, self._settings
        wanted = settings.review_queue_items - store.uncertain_waiting(champion)
        # Picked many at a time, so that they can be unlike each other, and from what has gathered since.
        if wanted < settings.review_queue_items / 2:
            return 0
        found = store.uncertain_candidates(champion, settings.review_queue_items * _CANDIDATES_PER_ITEM)
        candidates = [item for item in found if not is_drawn(item.prediction_id, settings.audit_ratio)]
        picks, priorities = self._pick(champion, candidates, wanted)
        store.ask_about_uncertain(picks, priorities)
        if picks:
            log.info("predictions wait for review", extra={"items": len(picks), "of": len(candidates)})
        return len(picks)

    def _pick(self, champion: str, candidates: list[Candidate], count: int) -> tuple[list[Candidate], list[float]]:
        if not candidates:
            return [], []
        folder, cache = self._registry.path(champion), self._settings.home.cache
        texts = [candidate.text for candidate in candidates]
        margin = margins(scores_of(folder, texts, cache))
        places = pick_uncertain_and_diverse(margin, _embeddings(folder, texts, cache), count)
        return [candidates[place] for place in places], [float(margin[place]) for place in places]


def _embeddings(folder: Path, texts: list[str], cache: Path) -> FloatMatrix | None:
    """Return the texts' embeddings (n, h), kept from scoring them; None for a version without an encoder."""
    manifest = read_manifest(folder)
    encoder = ExportedEncoder.of_bundle(folder, manifest)
    if encoder is None or manifest.encoder is None:
        return None
    cleaned = [clean(text, manifest.text) for text in texts]
    kept = EmbeddingCache(cache)
    return kept.embed(encoder, cleaned, max_tokens=manifest.encoder.max_tokens, variant=manifest.encoder.serving)
