"""Everything that is to be known of how good a version is, on rows that it did not learn: one report, for page and program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from core.bundle import Manifest
from core.classifier import Classifier
from core.errors import DataError
from core.registries import registry_of
from core.settings import Settings
from core.text import Split, TextSettings
from feedback.examples import Example
from feedback.snapshot import Snapshot
from train.abstaining import CoveragePoint, Scope, Threshold, coverage, scope, thresholds
from train.areas import Areas, areas
from train.calibration import Calibration, calibration
from train.cleaning import to_examples
from train.evaluate import Asked, Engine, EvaluationReport, report_of, timed_scores
from train.expense import served_bytes
from train.fairness import SliceReport, SwapReport, read_terms, slice_reports, swap_reports, term_slices
from train.floor import Cost, FloorReport, floor_report
from train.held import Held, read_held
from train.measure import FloatMatrix, IntVector
from train.reading import read_table
from train.slices import slices_of
from train.uncertainty import Interval, averages, share

_SHOWN_ERRORS = 25
_SHOWN_PAIRS = 15
_SHOWN_CHARS = 200


@dataclass(frozen=True)
class JudgeRequest:
    """What to judge, on what. ``split`` None takes the test part where the file names splits, else all rows.

    ``slice_by`` are columns of the file; ``terms`` a file of groups of terms; ``out_of_scope`` the label of rows that are
    none of the model's business, found at the threshold that leaves ``in_scope_accuracy``, or finds ``out_of_scope_recall`` of
    them, on validation rows.
    """

    version: str
    data: Path
    split: Split | Literal["all"] | None = None
    engine: Engine = "serving"
    text_column: str | None = None
    label_column: str | None = None
    slice_by: tuple[str, ...] = ()
    terms: Path | None = None
    out_of_scope: str | None = None
    in_scope_accuracy: float | None = None
    out_of_scope_recall: float | None = None


class Mistake(BaseModel):
    """A row that was answered wrongly."""

    text: str
    label: str
    answer: str
    score: float


class Confused(BaseModel):
    """How often one label was answered for another."""

    label: str
    answer: str
    rows: int


class Judgement(BaseModel):
    """How good a version is. Rows that it learned are left out; intervals are of 95%."""

    version: str
    evaluation: EvaluationReport
    learned_rows: int = Field(description="Rows left out because the version learned their texts.")
    accuracy: Interval
    averages: dict[str, Interval] = Field(description="Precision, recall and F1, macro and weighted.")
    recalls: dict[str, Interval] = Field(description="Recall of each label with its interval.")
    areas: Areas | None
    calibration: Calibration
    coverage: list[CoveragePoint]
    thresholds: list[Threshold]
    scope: Scope | None
    cost: Cost
    floor: FloorReport | None
    floor_missing: str | None = Field(description="Why there is no floor.")
    slices: list[SliceReport]
    swaps: list[SwapReport]
    confused: list[Confused]
    mistakes: list[Mistake] = Field(description="The surest mistakes first: wrong labels, or what the model does not see.")


def judge(settings: Settings, request: JudgeRequest) -> Judgement:
    """Return the judgement.

    Raises:
        UnknownVersion: there is no such version or alias.
        DataError: the file is refused, a column is missing, or no row is left that the version did not learn.
        BundleError: the version cannot be trusted or read.
    """
    registry = registry_of(settings)
    version = registry.resolve(request.version)
    folder, manifest = registry.path(version), registry.manifest(version)
    terms = read_terms(request.terms) if request.terms else {}
    snapshot, missing = _snapshot(settings, manifest)
    asked, learned, examples = _rows(request, manifest, snapshot)
    scores, took_s = timed_scores(folder, manifest, asked.texts, request.engine)
    evaluation = report_of(asked, scores, manifest.labels, engine=request.engine, took_s=took_s)
    truth, answers, confidences = asked.truth, scores.argmax(axis=1), scores.max(axis=1)
    right = answers == truth
    accuracy = share(int(right.sum()), len(truth))
    if accuracy is None:
        raise ValueError("a row is asked at least")
    counts = np.asarray(evaluation.confusion, dtype=np.int64)
    held = read_held(folder)
    floor = floor_report(snapshot, manifest, asked.texts, truth, answers) if snapshot is not None else None
    slices = slices_of(asked.examples) | term_slices(asked.texts, terms)
    classifier = Classifier.load(folder, checked=False)
    return Judgement(
        version=version,
        evaluation=evaluation,
        learned_rows=learned,
        accuracy=accuracy,
        averages=averages(counts),
        recalls={
            label: found
            for place, label in enumerate(manifest.labels)
            if (found := share(int(counts[place, place]), int(counts[place].sum()))) is not None
        },
        areas=areas(scores, truth, manifest.labels),
        calibration=calibration(scores, truth, manifest.temperature),
        coverage=coverage(confidences, right),
        thresholds=thresholds(held, confidences, right),
        scope=_scope(request, manifest, held, asked, examples, scores, classifier),
        cost=Cost(
            texts_per_s=evaluation.texts_per_s,
            served_bytes=served_bytes(folder, manifest),
            train_s=manifest.lineage.train_s,
        ),
        floor=floor,
        floor_missing=missing,
        slices=slice_reports(slices, truth, answers, manifest.labels),
        swaps=swap_reports(asked.texts, terms, classifier.predict, manifest.labels) if len(terms) > 1 else [],
        confused=_confused(counts, manifest.labels),
        mistakes=_mistakes(asked, answers, confidences, manifest.labels),
    )


def _snapshot(settings: Settings, manifest: Manifest) -> tuple[Snapshot | None, str | None]:
    try:
        return Snapshot.load(settings.home.snapshots, manifest.lineage.snapshot), None
    except DataError as error:
        return None, f"what the version learned from cannot be read: {error.message}"


def _rows(request: JudgeRequest, manifest: Manifest, snapshot: Snapshot | None) -> tuple[Asked, int, list[Example]]:
    """Return the rows to ask about, how many were left out since they were learned, and all rows of the file."""
    table = read_table(request.data, text_column=request.text_column, label_column=request.label_column)
    settings = TextSettings.model_validate({})
    examples, _ = to_examples(table, settings, to_train=False, metadata=request.slice_by)
    learned = {example.text_key for example in snapshot.learned(manifest.lineage.speed)} if snapshot is not None else set()
    unseen = [example for example in examples if example.text_key not in learned]
    wanted = request.split or ("test" if table.split else "all")
    before = sum(wanted in ("all", example.split) for example in examples)
    after = sum(wanted in ("all", example.split) for example in unseen)
    if before and not after:
        raise DataError(f"{table.name} has {before} rows in the split {wanted}, and the version has learned all of them")
    return Asked.of(table.name, wanted, unseen, manifest.labels), before - after, unseen


def _scope(
    request: JudgeRequest,
    manifest: Manifest,
    held: Held | None,
    asked: Asked,
    examples: Sequence[Example],
    scores: FloatMatrix,
    classifier: Classifier,
) -> Scope | None:
    label = request.out_of_scope
    if label is None:
        return None
    if held is None:
        raise DataError("the version keeps no answers to validation rows to choose a threshold on; teach it anew")
    known = label in manifest.labels
    # A label the model does not know stands behind all that it does: no answer is it.
    place = manifest.labels.index(label) if known else len(manifest.labels)
    measured = Held.of(scores, asked.truth)
    if not known:
        # Rows that nothing was learned from, so those of the validation part may choose.
        held = _with(held, _texts(examples, label, "validation"), place, classifier)
        measured = _with(measured, [example.text for example in asked.others if example.label == label], place, classifier)
    wanted = {"in_scope_accuracy": request.in_scope_accuracy, "out_of_scope_recall": request.out_of_scope_recall}
    found = scope(label, place, held, measured, **wanted)
    if found is None:
        raise DataError(
            "rows in and out of scope are needed, to choose a threshold in the validation part and to measure it in "
            f"{asked.split}; one of them has no row labelled {label!r}, or no other"
        )
    return found


def _texts(examples: Sequence[Example], label: str, split: Split) -> list[str]:
    return [example.text for example in examples if (example.label, example.split) == (label, split)]


def _with(rows: Held, texts: Sequence[str], place: int, classifier: Classifier) -> Held:
    if not texts:
        return rows
    more = Held.of(classifier.predict(texts), np.full(len(texts), place, dtype=np.int64))
    return Held(
        np.concatenate([rows.truth, more.truth]),
        np.concatenate([rows.answers, more.answers]),
        np.concatenate([rows.confidences, more.confidences]),
    )


def _confused(counts: IntVector, labels: Sequence[str]) -> list[Confused]:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_SHOWN_PAIRS]
    pairs = [(int(place) // len(labels), int(place) % len(labels)) for place in order]
    return [Confused(label=labels[a], answer=labels[b], rows=int(wrong[a, b])) for a, b in pairs if wrong[a, b]]


def _mistakes(asked: Asked, answers: IntVector, confidences: FloatMatrix, labels: Sequence[str]) -> list[Mistake]:
    wrong = np.flatnonzero(answers != asked.truth)
    order = wrong[np.argsort(-confidences[wrong], kind="stable")][:_SHOWN_ERRORS]
    return [
        Mistake(
            text=asked.examples[place].text[:_SHOWN_CHARS],
            label=asked.examples[place].label,
            answer=labels[int(answers[place])],
            score=round(float(confidences[place]), 4),
        )
        for place in order.tolist()
    ]
