"""``hone ensemble``: one version made of several, at the cost of one: their weights averaged, or their answers taught.

Averaging takes seconds and wants members that started from one encoder (:mod:`train.soup`). Distilling takes a training and
takes any members: one of them learns the probabilities that all give together (Hinton et al. 2015, arXiv 1503.02531).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field

from core.bundle import Manifest
from core.errors import DataError, InputError
from core.gate import GateDecision
from core.labels import LabelSet
from core.registries import registry_of
from core.settings import Settings
from core.text import TextSettings
from feedback.snapshot import Snapshot
from train.full import FullFitter
from train.head import FeatureRows, FloatMatrix, IntVector
from train.judging import judge_candidate
from train.label_shift import LabelShift
from train.looks import holdout_of
from train.progress import Clock, Report, Stages, silent
from train.request import STAGES, Ensemble, FinetuneSettings, FitRequest, How, Parent, Workplace
from train.rows import Rows
from train.scoring import scores_of
from train.select import HeadRows, OptionReport, fit_option, judge
from train.soup import Ingredient, average, check_alike, read_ingredient
from train.tensors import embed_ids


@dataclass(frozen=True)
class EnsembleRequest:
    """What to make one version of, and how; ``weight``, ``temperature``, ``base`` and ``finetune`` are for distilling."""

    versions: tuple[str, ...]
    how: How = "soup"
    weight: float = 0.7
    temperature: float = 2.0
    base: str | None = None
    seed: int = 0
    promote: bool = True
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)


class MemberReport(BaseModel):
    """A version that was to be part of it, as it was measured when it was made."""

    version: str
    validation_accuracy: float | None
    accuracy: float | None = Field(description="On its own holdout, which chose nothing.")
    used: bool = Field(description="Whether it is part of what came out.")


class EnsembleReport(BaseModel):
    """What came of it."""

    how: How
    members: list[MemberReport]
    version: str
    promoted: bool
    decision: GateDecision
    options: list[OptionReport]
    metrics: dict[str, float]
    seconds: dict[str, float]


def ensemble(settings: Settings, request: EnsembleRequest, progress: Report = silent) -> EnsembleReport:
    """Make one version of several, ask the gate, register, and promote if the gate agrees and nobody has to sign.

    It learns from, and is judged by, what the newest of the members saw.

    Raises:
        UnknownVersion: there is no such version or alias.
        InputError: fewer than two versions, or such as do not go together.
        DataError: what a member saw is gone, or it has learned rows that are to judge.
    """
    settings.home.prepare()
    registry = registry_of(settings)
    versions = tuple(dict.fromkeys(registry.resolve(version) for version in request.versions))
    if len(versions) < 2:
        raise InputError(f"an ensemble is made of two versions or more; there is {', '.join(versions) or 'none'}")
    manifests = {version: registry.manifest(version) for version in versions}
    newest = max(versions, key=lambda version: manifests[version].created_at)
    snapshot = Snapshot.load(settings.home.snapshots, manifests[newest].lineage.snapshot)
    labels = _labels(manifests)
    _check_unlearned(manifests, snapshot, settings)
    start = _start(manifests)
    made = Ensemble(request.how, versions, request.weight, request.temperature)
    # What comes of encoders is to answer with an encoder, and of several kinds with both.
    kinds = {manifest.features for manifest in manifests.values()}
    fitting = FitRequest(
        "full", "encoder" if kinds == {"encoder"} else "both", request.base, request.seed, request.finetune, ensemble=made
    )
    staging = Path(tempfile.mkdtemp(dir=settings.home.runs, prefix="ensemble-"))
    try:
        rows = Rows.of(snapshot.examples, labels, TextSettings.model_validate({}))
        place, stages = Workplace(settings.home.cache, staging), Stages(STAGES["full"], progress)
        kind = DistilledFitter if request.how == "distill" else SoupFitter
        fitter = kind(rows, fitting, place, stages, Clock(), Parent(start, registry.path(start)))
        fitter.gather({version: registry.path(version) for version in versions}, manifests)
        fitter.fit()
        fitted = fitter.finish(snapshot, manifests[newest].lineage.dataset, None)
        decision = judge_candidate(fitted.folder, registry.aliases().champion, registry, snapshot, settings)
        used = fitter.used
        why = f"{request.how} of {', '.join(used)}"
        version = registry.register(fitted.folder, decision, by="ensemble", why=why)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    promoted = request.promote and decision.promote and not decision.waits
    if promoted:
        registry.promote(version, by="gate", why=decision.summary)
    return EnsembleReport(
        how=request.how,
        members=[_member(name, manifest, used) for name, manifest in manifests.items()],
        version=version,
        promoted=promoted,
        decision=decision,
        options=fitted.options,
        metrics=fitted.manifest.metrics,
        seconds=fitted.seconds,
    )


class SoupFitter(FullFitter):
    """A fit whose encoder and head are the average of the members', all of them or those that help."""

    ingredients: Sequence[Ingredient] = ()
    used: tuple[str, ...] = ()

    def gather(self, folders: dict[str, Path], manifests: dict[str, Manifest]) -> None:
        """Read what is averaged.

        Raises:
            InputError: the members cannot be averaged.
        """
        names = self.rows.names
        self.ingredients = [read_ingredient(name, folders[name], manifest, names) for name, manifest in manifests.items()]
        check_alike(self.ingredients)
        spec = next(iter(manifests.values())).encoder
        self.inherited = spec.vocabulary if spec is not None else None
        made = self.request.ensemble
        if made is not None and made.how == "greedy" and not len(self.rows.validation):
            raise DataError("there are no validation rows to choose members by; --how soup takes all")

    def fit(self) -> None:
        """Average, and combine what comes out with the n-gram head."""
        self._limit_tokens(self.ingredients[0].base)
        self.options = [fit_option(self._head_rows(None), "ngrams", "ngrams", self._beat)]
        self.clock.lap("fit")
        made = self.request.ensemble
        chosen = self._helping() if made is not None and made.how == "greedy" else self.ingredients
        self.used = tuple(ingredient.version for ingredient in chosen)
        base, head = average(chosen)
        self.clock.lap("finetune")
        self.encoder, heads = self._offer(base, head, self.inherited)
        self.tuned = head
        self._settle(heads)
        self._shift_by(self._head_rows(None))

    def _helping(self) -> list[Ingredient]:
        """Return the best member, and of the others, from the best on, each that does not make the average worse."""
        alone = {ingredient.version: self._judged([ingredient]) for ingredient in self.ingredients}
        chosen: list[Ingredient] = []
        best = float("inf")
        for ingredient in sorted(self.ingredients, key=lambda ingredient: alone[ingredient.version]):
            loss = self._judged([*chosen, ingredient]) if chosen else alone[ingredient.version]
            if loss <= best:
                chosen, best = [*chosen, ingredient], loss
        return chosen

    def _judged(self, ingredients: Sequence[Ingredient]) -> float:
        """Return the log loss of an average on validation rows, which says the same as accuracy with less noise."""
        base, head = (ingredients[0].base, ingredients[0].head) if len(ingredients) == 1 else average(ingredients)
        places = self.rows.validation
        rows = FeatureRows(embed_ids(base, self._tokens(base, places)), None)
        own = np.arange(len(places))
        truth, weights = self.rows.labels[places], self.rows.weights[places]
        found = judge(HeadRows(rows, truth, weights, own[:0], own, len(self.rows.names)), "", "encoder", head, 0.0)
        return found.log_loss if found.log_loss is not None else float("inf")


class DistilledFitter(FullFitter):
    """A fit of one member's encoder to what all say together."""

    teacher: FloatMatrix | None = None
    used: tuple[str, ...] = ()

    def gather(self, folders: dict[str, Path], manifests: dict[str, Manifest]) -> None:
        """Ask the members about the training rows."""
        texts = self.rows.pick(self.rows.train)
        total = np.zeros((len(texts), len(self.rows.names)), dtype=np.float32)
        for number, (name, manifest) in enumerate(manifests.items()):
            self.stages.at("load", number / len(manifests))
            places = [manifest.labels.index(label) for label in self.rows.names]
            # What they know of the texts: the mix of labels in traffic is added to what comes out, once.
            scores = LabelShift.load(folders[name]).undone(scores_of(folders[name], texts, self.place.cache), manifest.labels)
            total += scores[:, places]
        self.teacher = total / np.float32(len(manifests))
        self.used = tuple(manifests)
        self.clock.lap("teacher")

    def _targets(self) -> FloatMatrix | None:
        made = self.request.ensemble
        if self.teacher is None or made is None:
            raise RuntimeError("what is distilled is gathered first")
        labels = self.rows.labels[self.rows.train]
        return mixed_targets(softened(self.teacher, made.temperature), labels, made.weight)


def softened(scores: FloatMatrix, temperature: float) -> FloatMatrix:
    """Return probabilities (n, c) at another temperature: above 1 what is unlikely becomes less so.

    >>> softened(np.array([[0.9, 0.1]], np.float32), 2.0).round(2).tolist()
    [[0.75, 0.25]]
    """
    powers = np.maximum(scores, np.float32(1e-12)) ** np.float32(1.0 / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def mixed_targets(scores: FloatMatrix, labels: IntVector, weight: float) -> FloatMatrix:
    """Return what to learn (n, c): ``weight`` of the probabilities, and the rest the label alone."""
    targets = np.float32(weight) * scores
    targets[np.arange(len(labels)), labels] += np.float32(1.0 - weight)
    return targets


def _start(manifests: dict[str, Manifest]) -> str:
    """Return the member with an encoder that was best on validation rows."""
    able = [version for version, manifest in manifests.items() if manifest.encoder is not None]
    if not able:
        raise InputError("none of the versions has an encoder; what answers from n-grams alone is taught anew in seconds")
    return min(able, key=lambda version: manifests[version].metrics.get("validation_log_loss", float("inf")))


def _labels(manifests: dict[str, Manifest]) -> LabelSet:
    first, *others = manifests
    labels = LabelSet(tuple(manifests[first].labels))
    for other in others:
        missing = set(labels) ^ set(manifests[other].labels)
        if missing:
            raise InputError(f"{first} and {other} do not answer with the same labels: {len(missing)} are known to one alone")
    return labels


def _check_unlearned(manifests: dict[str, Manifest], snapshot: Snapshot, settings: Settings) -> None:
    """Raise ``DataError`` where a member has learned rows by which the ensemble is chosen or judged."""
    held = {
        "validation": {example.text_key for example in snapshot.of_split("validation")},
        "test": {example.text_key for example in holdout_of(snapshot)},
    }
    for version, manifest in manifests.items():
        seen = snapshot
        if manifest.lineage.snapshot != snapshot.hash:
            seen = Snapshot.load(settings.home.snapshots, manifest.lineage.snapshot)
        learned = {row.text_key for row in seen.learned(manifest.lineage.speed) if row.split != "validation"}
        # Its head was refitted on validation rows too: those may choose, since no encoder has seen them, but not judge.
        judging = held["test"] & (learned | {example.text_key for example in seen.of_split("validation")})
        count = len(judging | (held["validation"] & learned))
        if count:
            raise DataError(f"{version} has learned {count} of the rows by which the ensemble would be chosen or judged")


def _member(version: str, manifest: Manifest, used: Sequence[str]) -> MemberReport:
    return MemberReport(
        version=version,
        validation_accuracy=manifest.metrics.get("validation_accuracy"),
        accuracy=manifest.metrics.get("accuracy"),
        used=version in used,
    )
