"""Letting a candidate and the champion answer the same rows, and asking the gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.bundle import read_manifest
from core.gate import Answers, Evidence, GateDecision, GateLimits, Make, Reliability, decide, decide_first
from core.label_book import LabelBook
from core.labels import LabelSet
from core.registry import Registry
from core.schemas import FitSpeed
from core.settings import Settings
from feedback.snapshot import Example, Snapshot
from train.ancestry import encoder_version, texts_of_encoder
from train.crossfit import OutOfFold
from train.expense import latency_ratio, size_ratio
from train.forgetting import best_before
from train.likelihood import likelihood_gains
from train.looks import LookBook, holdout_of
from train.measure import calibration_error, reliability
from train.scoring import FloatMatrix, scores_of
from train.slices import slices_of

__all__ = ["earlier_examples", "fresh_examples", "judge_candidate", "limits_of", "scores_of"]

# Of what the champion has learned, so that a fit does not keep answers to more than that.
_MOST_EARLIER = 5_000
_NOTHING = OutOfFold()


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
    limits = limits_of(settings)
    manifest = read_manifest(candidate)
    parity = manifest.parity.label_agreement_ratio if manifest.parity else 1.0
    holdout = holdout_of(snapshot)
    if champion is None:
        commonest = Counter(example.label for example in holdout).most_common(1)
        majority = commonest[0][1] / len(holdout) if commonest else 0.0
        first = decide_first(len(holdout), manifest.metrics.get("accuracy", 0.0), majority, parity, limits)
        return first.model_copy(update={"mode": settings.gate_mode})
    before_speed = registry.manifest(champion).lineage.speed
    looks = LookBook(registry, settings.home.snapshots).look(snapshot, champion)
    names = _names(registry, champion, book)
    before = best_before(registry, champion)
    names_before = _names(registry, before, book) if before is not None else {}
    labels = LabelSet.of([*manifest.labels, *names.values(), *names_before.values()])
    comparison = _Comparison(registry.path(champion), names, candidate, labels, settings.home.cache)
    after = OutOfFold.load(settings.home.cache, candidate)
    before_it = OutOfFold.load(settings.home.cache, registry.path(champion))
    fresh = fresh_examples(snapshot, registry, champion, settings, book)
    asked = [row for row in fresh if _can_say(row, after, manifest.lineage.speed)]
    taught = {example.text_key for example in _snapshot_of(registry, champion, settings).learned(before_speed)}
    told = set(names.values())
    old = [row for row in holdout if row.label in told]
    said = [row for row in asked if row.label in told]
    answers, calibration, honest = comparison.holdout(old)
    # What chance drew stays a fair sample only without all texts that the champion was taught, rightly or wrongly.
    recent = [row for row in said if row.text_key in audited and row.text_key not in taught]
    by_heart = texts_of_encoder(encoder_version(registry, champion), settings)
    earlier = [
        row
        for row in earlier_examples(snapshot, fresh, audited)
        if row.label in told
        and row.text_key not in by_heart
        and _can_say(row, before_it, before_speed)
        and _can_say(row, after, manifest.lineage.speed)
    ]
    drawn = comparison.fresh([*recent, *earlier], after, before_it)
    evidence = Evidence(
        holdout=answers,
        recent=drawn.take(np.arange(len(recent))),
        earlier=drawn.take(np.arange(len(recent), len(drawn.truth))),
        corrections=comparison.fresh([row for row in said if row.text_key not in audited], after),
        new=comparison.fresh([row for row in (*holdout, *asked) if row.label not in told], after),
        before=(before, comparison.beside(registry.path(before), names_before).fresh(old)) if before is not None else None,
        slices=slices_of(old),
        looks=looks,
    )
    folders = registry.path(champion), candidate
    slowness = latency_ratio(*folders, [example.text for example in old])
    make = Make(parity, calibration, honest, size_ratio(*folders), slowness)
    decision = decide(evidence, make, labels=list(labels), champion=champion, limits=limits)
    return decision.model_copy(update={"mode": settings.gate_mode})


def _can_say(row: Example, known: OutOfFold, speed: FitSpeed) -> bool:
    """Return whether a version of that speed has an honest answer to what people said: it never learned it, or as if not."""
    return row.text_key in known or (row.split == "test" and speed == "full")


def _names(registry: Registry, version: str, book: LabelBook | None) -> dict[str, str]:
    """Return what each label of a version is called by now."""
    return {name: name if book is None else book.now(name) or name for name in registry.manifest(version).labels}


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


@dataclass(frozen=True)
class _Comparison:
    """The champion and a candidate; ``names`` says what each of the champion's labels is called by now."""

    champion: Path
    names: Mapping[str, str]
    candidate: Path
    labels: LabelSet
    cache: Path

    def beside(self, folder: Path, names: Mapping[str, str]) -> _Comparison:
        """Return the comparison of the candidate with another version in the champion's place."""
        return replace(self, champion=folder, names=names)

    def holdout(self, examples: Sequence[Example]) -> tuple[Answers, tuple[float, float] | None, Reliability | None]:
        """Return the right labels, the champion's and the candidate's, as indices, and how honest both models' scores are."""
        truth = self._truth(examples)
        if not examples:
            return Answers(truth, truth, truth), None, None
        before = self._scores(self.champion, examples, self.names)
        after = self._scores(self.candidate, examples, {})
        answers = Answers(truth, before.argmax(axis=1), after.argmax(axis=1))
        honest = Reliability(champion=reliability(before, truth), candidate=reliability(after, truth))
        return answers, (calibration_error(before, truth), calibration_error(after, truth)), honest

    def fresh(self, examples: Sequence[Example], after: OutOfFold = _NOTHING, before: OutOfFold = _NOTHING) -> Answers:
        """Return the same of rows that are not held out, each model answering those it learned from as it would have without.

        Rows whose labels neither of them knows are left out.
        """
        examples = [example for example in examples if example.label in self.labels]
        truth = self._truth(examples)
        if not examples:
            return Answers(truth, truth, truth)
        old = self._out_of_fold(self._scores(self.champion, examples, self.names), examples, before, self.names)
        new = self._out_of_fold(self._scores(self.candidate, examples, {}), examples, after, {})
        return Answers(truth, old.argmax(axis=1), new.argmax(axis=1), likelihood_gains(truth, old, new))

    def _out_of_fold(
        self, scores: FloatMatrix, examples: Sequence[Example], known: OutOfFold, names: Mapping[str, str]
    ) -> FloatMatrix:
        own = [self.labels.index(names.get(name, name)) for name in known.labels]
        for place, example in enumerate(examples):
            if example.text_key in known:
                scores[place] = 0.0
                np.add.at(scores[place], own, np.exp(known.scores[known.places[example.text_key]]))
        return scores

    def _truth(self, examples: Sequence[Example]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([self.labels.index(example.label) for example in examples], dtype=np.int64)

    def _scores(self, folder: Path, examples: Sequence[Example], names: Mapping[str, str]) -> FloatMatrix:
        """Return probabilities (n, labels of both); labels the model does not know have none."""
        own = [self.labels.index(names.get(name, name)) for name in read_manifest(folder).labels]
        scores = scores_of(folder, [example.text for example in examples], self.cache)
        found = np.zeros((len(examples), len(self.labels)), dtype=np.float32)
        for column, place in enumerate(own):
            # Labels that were merged since add up.
            found[:, place] += scores[:, column]
        return found
