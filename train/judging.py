"""Letting a candidate and the champion answer the same rows, and asking the gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.bundle import Manifest, read_manifest
from core.gate import NO_ANSWERS, Evidence, GateDecision, GateLimits, Make, decide, decide_first
from core.gate_evidence import promising
from core.label_book import LabelBook
from core.labels import LabelSet
from core.registry import Registry
from core.schemas import FitSpeed
from core.settings import Settings
from feedback.snapshot import Example, Snapshot
from train.ancestry import encoder_version, texts_of_encoder
from train.comparison import Comparison
from train.crossfit import OutOfFold
from train.expense import latency_ratio, size_ratio
from train.forgetting import best_before
from train.looks import LookBook, holdout_of
from train.slices import slices_of

# Of what the champion has learned, so that a fit does not keep answers to more than that.
_MOST_EARLIER = 5_000
# What a look at the holdout counts for a head which recent rows do not speak for. It is still taken: on many held-out rows a
# gain may show that a few recent ones do not.
_UNPROMISING_WEIGHT = 0.1


def limits_of(settings: Settings) -> GateLimits:
    """Return the gate's limits from the settings."""
    return GateLimits(
        min_rows=settings.gate_min_rows,
        min_gain_ratio=settings.gate_min_gain_ratio,
        min_new_class_ratio=settings.gate_min_new_class_ratio,
        alpha=settings.gate_alpha,
        max_loss_ratio=settings.gate_max_loss_ratio,
        max_sure_loss_ratio=settings.gate_max_sure_loss_ratio,
        max_forgetting_ratio=settings.gate_max_forgetting_ratio,
        max_class_loss_ratio=settings.gate_max_class_loss_ratio,
        max_negative_flip_ratio=settings.gate_max_negative_flip_ratio,
        min_parity_ratio=settings.gate_min_parity_ratio,
        max_calibration_loss_ratio=settings.gate_max_calibration_loss_ratio,
        max_growth=settings.gate_max_growth,
    )


def judge_candidate(
    candidate: Path,
    champion: str | None,
    registry: Registry,
    snapshot: Snapshot,
    settings: Settings,
    book: LabelBook | None = None,
    audited: Set[str] = frozenset(),
) -> GateDecision:
    """Return the gate's decision on the bundle in ``candidate`` against the version ``champion``.

    The look is recorded before it is taken. The holdout is the base part of the test split. What people said since the champion
    learned is asked about as well, each row only with an answer of the candidate that does not come from having learned it:
    rows of the test split where the encoder was trained, and those that the fit of a head was cross-fitted on; and what chance
    drew before, where the champion has such an answer too. Where labels were merged or renamed since, the
    champion's answers count as what they stand for by ``book``. ``audited`` are the text keys that chance chose and people
    judged.
    """
    if champion is None:
        decision = _judge_first(candidate, snapshot, settings)
    else:
        decision = _Case(candidate, champion, registry, snapshot, settings, book, audited).decide()
    return decision.model_copy(update={"mode": settings.gate_mode})


def _judge_first(candidate: Path, snapshot: Snapshot, settings: Settings) -> GateDecision:
    manifest, holdout = read_manifest(candidate), holdout_of(snapshot)
    commonest = Counter(example.label for example in holdout).most_common(1)
    majority = commonest[0][1] / len(holdout) if commonest else 0.0
    accuracy = manifest.metrics.get("accuracy", 0.0)
    return decide_first(len(holdout), accuracy, majority, _parity(manifest), limits_of(settings))


@dataclass(frozen=True)
class _Case:
    """A candidate before the gate: the arguments of :func:`judge_candidate`."""

    candidate: Path
    champion: str
    registry: Registry
    snapshot: Snapshot
    settings: Settings
    book: LabelBook | None
    audited: Set[str]

    def decide(self) -> GateDecision:
        """Take the look and let the rules decide on what it shows."""
        manifest = read_manifest(self.candidate)
        book = LookBook(self.registry, self.settings.home.snapshots)
        looks = book.look(self.snapshot, self.champion)
        names = self._names(self.champion)
        before = best_before(self.registry, self.champion)
        names_before = self._names(before) if before is not None else {}
        labels = LabelSet.of([*manifest.labels, *names.values(), *names_before.values()])
        champion, cache = self.registry.path(self.champion), self.settings.home.cache
        comparison = Comparison(champion, names, self.candidate, labels, cache)
        after, before_it = OutOfFold.load(cache, self.candidate), OutOfFold.load(cache, champion)
        rows = self._rows(set(names.values()), (before_it, after), manifest.lineage.speed)
        drawn = comparison.fresh([*rows.recent, *rows.earlier], after, before_it)
        evidence = Evidence(
            holdout=NO_ANSWERS,
            recent=drawn.take(np.arange(len(rows.recent))),
            earlier=drawn.take(np.arange(len(rows.recent), len(drawn.truth))),
            corrections=comparison.fresh(rows.corrections, after),
            new=comparison.fresh(rows.new, after),
            slices=slices_of(rows.holdout),
        )
        if self._same_encoder(manifest) and not promising(evidence):
            looks = book.lighten(looks, _UNPROMISING_WEIGHT)
        answers, calibration, honest = comparison.holdout(rows.holdout)
        forgotten = None
        if before is not None:
            forgotten = before, comparison.beside(self.registry.path(before), names_before).holdout(rows.holdout)[0]
        evidence = replace(evidence, holdout=answers, before=forgotten, looks=looks)
        slowness = latency_ratio(champion, self.candidate, [example.text for example in rows.holdout])
        make = Make(_parity(manifest), calibration, honest, size_ratio(champion, self.candidate), slowness)
        return decide(evidence, make, labels=list(labels), champion=self.champion, limits=limits_of(self.settings))

    def _same_encoder(self, manifest: Manifest) -> bool:
        """Return whether the candidate is but another head, of which recent rows tell as much as of the champion's."""
        before, after = self.registry.manifest(self.champion).encoder, manifest.encoder
        if before is None or after is None:
            return before is after
        return before.weights_sha256 == after.weights_sha256

    def _rows(self, told: Set[str], known: tuple[OutOfFold, OutOfFold], speed: FitSpeed) -> _Rows:
        """Return what both are asked; ``told`` are the champion's labels, ``known`` what each would say had it not learned."""
        before_it, after = known
        before = _snapshot_of(self.registry, self.champion, self.settings)
        before_speed = self.registry.manifest(self.champion).lineage.speed
        holdout = holdout_of(self.snapshot)
        fresh = fresh_examples(self.snapshot, self.registry, self.champion, self.settings, self.book)
        asked = [row for row in fresh if _can_say(row, after, speed)]
        said = [row for row in asked if row.label in told]
        # What chance drew stays a fair sample only without all texts that the champion was taught, rightly or wrongly.
        taught = {example.text_key for example in before.learned(before_speed)}
        by_heart = texts_of_encoder(encoder_version(self.registry, self.champion), self.settings)
        return _Rows(
            holdout=[row for row in holdout if row.label in told],
            new=[row for row in (*holdout, *asked) if row.label not in told],
            recent=[row for row in said if row.text_key in self.audited and row.text_key not in taught],
            corrections=[row for row in said if row.text_key not in self.audited],
            earlier=[
                row
                for row in earlier_examples(self.snapshot, fresh, self.audited)
                if row.label in told
                and row.text_key not in by_heart
                and _can_say(row, before_it, before_speed)
                and _can_say(row, after, speed)
            ],
        )

    def _names(self, version: str) -> dict[str, str]:
        """Return what each label of a version is called by now."""
        labels = self.registry.manifest(version).labels
        return {name: name if self.book is None else self.book.now(name) or name for name in labels}


@dataclass(frozen=True)
class _Rows:
    """Examples that are asked: held out, of labels new to the champion, drawn since it learned and before, and corrected."""

    holdout: list[Example]
    new: list[Example]
    recent: list[Example]
    earlier: list[Example]
    corrections: list[Example]


def _parity(manifest: Manifest) -> float:
    return manifest.parity.label_agreement_ratio if manifest.parity else 1.0


def _can_say(row: Example, known: OutOfFold, speed: FitSpeed) -> bool:
    """Return whether a version of that speed has an honest answer to what people said: it never learned it, or as if not."""
    return row.text_key in known or (row.split == "test" and speed == "full")


def fresh_examples(
    snapshot: Snapshot, registry: Registry, champion: str, settings: Settings, book: LabelBook | None = None
) -> list[Example]:
    """Return what people said of texts, as far as the champion has not learned it, nor was judged by it.

    What is held out is never learned; it spoke for the champion, or against it, once, and does not speak again.
    """
    said = [example for example in snapshot.examples if example.origin != "base"]
    if not said:
        return []
    before = _snapshot_of(registry, champion, settings)
    known = {(example.text_key, (book.now(example.label) if book else None) or example.label) for example in before.examples}
    return [example for example in said if (example.text_key, example.label) not in known]


def earlier_examples(snapshot: Snapshot, fresh: Sequence[Example], audited: Set[str]) -> list[Example]:
    """Return what chance drew and people judged, and the champion has learned: some of it, where that is very much.

    Keys are hashes, so that the first in their order are any.
    """
    new = {example.text_key for example in fresh}
    said = [row for row in snapshot.examples if row.origin != "base" and row.text_key in audited and row.text_key not in new]
    return sorted(said, key=lambda row: row.text_key)[:_MOST_EARLIER]


def _snapshot_of(registry: Registry, version: str, settings: Settings) -> Snapshot:
    return Snapshot.load(settings.home.snapshots, registry.manifest(version).lineage.snapshot)
