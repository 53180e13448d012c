"""``hone train --folds``: how well a way of teaching does, over folds of a file; nothing is registered.

Every fold is a whole training: features, choice, fine-tuning, export. Rows of the test part stay out of it, so that what
the folds say may decide between ways of teaching.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from pydantic import BaseModel, Field
from sklearn.model_selection import StratifiedKFold

from core.errors import DataError
from core.labels import LabelSet
from core.settings import Settings
from core.text import Split, split_of
from feedback.examples import Example
from feedback.snapshot import build_snapshot
from train.fit import fit
from train.fitter import Fitted
from train.progress import Report, Stages, silent
from train.request import STAGES, FitRequest, Workers, Workplace
from train.teach import TeachRequest

# Of a fold's training rows, the share that chooses among heads.
_VALIDATION_RATIO = 0.1


class Fold(BaseModel):
    """One training, measured on the rows that were left out of it."""

    rows: int
    chosen: str = Field(description="What was chosen on the fold's own validation rows.")
    metrics: dict[str, float]
    floor_accuracy: float | None = Field(description="Of the linear floor, on those validation rows.")
    fit_s: float


class Spread(BaseModel):
    """A number over folds."""

    mean: float
    deviation: float = Field(description="Standard deviation between folds.")
    low: float = Field(description="Of the worst fold.")
    high: float


class FoldsReport(BaseModel):
    """What the folds came to.

    Folds share most of their training rows, so their deviation tells less than as many trainings on data of their own would; no
    unbiased estimate of it exists (Bengio and Grandvalet, Journal of Machine Learning Research 5, 2004).
    """

    source: str
    labels: int
    folds: list[Fold]
    metrics: dict[str, Spread]


def cross_validate(settings: Settings, request: TeachRequest, folds: int, progress: Report = silent) -> FoldsReport:
    """Return how a training as ``request`` asks for it does on each of ``folds`` parts, taught on the others.

    Raises:
        DataError: the file is refused, or has too few rows.
        EncoderError, BundleError: when the base encoder cannot be loaded or exported.
    """
    settings.home.prepare()
    examples, data = request.read()
    rows = [example for example in examples if example.split != "test"]
    if len(rows) < 2 * folds:
        raise DataError(f"{data.source} has {len(rows)} rows outside its test part; {folds} folds need {2 * folds}")
    staging = Path(tempfile.mkdtemp(dir=settings.home.runs, prefix="folds-"))
    ratio = request.validation_ratio or _VALIDATION_RATIO
    found = []
    try:
        for number, outside in enumerate(_parts([row.label for row in rows], folds, request.seed)):
            stages = Stages(STAGES[request.speed], progress, share=(number / folds, (number + 1) / folds))
            found.append(_fold(settings, request, request.weigh(_dealt(rows, outside, ratio)), staging, stages))
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    names = [name for name in found[0].metrics if not name.startswith("validation")]
    return FoldsReport(
        source=data.source,
        labels=len({row.label for row in rows}),
        folds=found,
        metrics={name: _spread([fold.metrics[name] for fold in found]) for name in names},
    )


def _parts(labels: Sequence[str], folds: int, seed: int) -> list[set[int]]:
    with warnings.catch_warnings():
        # That a label has fewer rows than there are folds is no reason not to deal out the others.
        warnings.simplefilter("ignore", UserWarning)
        try:
            parts = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(labels)), list(labels)))
        except ValueError as error:
            raise DataError(f"no label has {folds} rows, so {folds} folds cannot have the same labels") from error
    return [set(outside.tolist()) for _, outside in parts]


def _dealt(rows: Sequence[Example], outside: set[int], ratio: float) -> list[Example]:
    """Return the rows with those at ``outside`` as the test part; a share of the others, by their hash, chooses among heads."""

    def split(place: int) -> Split:
        if place in outside:
            return "test"
        return split_of(rows[place].text_key, test_ratio=0.0, validation_ratio=ratio)

    return [replace(row, split=split(place)) for place, row in enumerate(rows)]


def _fold(settings: Settings, request: TeachRequest, examples: list[Example], staging: Path, stages: Stages) -> Fold:
    snapshot = build_snapshot(examples, [], LabelSet.of(example.label for example in examples), settings.correction_weight)
    wanted = FitRequest(request.speed, request.features, request.base, request.seed, request.finetune)
    fitted = fit(snapshot, snapshot.hash, wanted, Workplace(settings.home.cache, staging, workers=Workers.of(settings)), stages)
    try:
        return _report(fitted)
    finally:
        shutil.rmtree(fitted.folder, ignore_errors=True)


def _report(fitted: Fitted) -> Fold:
    floor = next((option.accuracy for option in fitted.options if option.name == "ngrams"), None)
    return Fold(
        rows=fitted.manifest.lineage.rows["test"],
        chosen=next(option.name for option in fitted.options if option.chosen),
        metrics=fitted.manifest.metrics,
        floor_accuracy=floor,
        fit_s=round(sum(fitted.seconds.values()), 2),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(mean=mean(values), deviation=stdev(values), low=min(values), high=max(values))
