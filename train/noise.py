"""``hone audit``: which labels of a data set are probably wrong.

Confident learning (Northcutt, Jiang and Chuang, arXiv 1911.00068): every label is judged by a head that has not seen it, and
rows are ranked by how much less probable the given label is than the best other one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from core.errors import DataError
from core.labels import LabelSet
from core.settings import Settings
from core.text import TextSettings, clean
from feedback.dataset import BaseDataset
from feedback.examples import Example
from train.cleaning import to_examples
from train.frozen import cross_validated, frozen_features
from train.progress import Report, Stages, silent
from train.reading import read_table

FloatMatrix = NDArray[np.float32]
IntVector = NDArray[np.int64]

_LEAST_ROWS = 20
# Beyond it a label counts as probably wrong: the other one is at least so many times as probable.
_LIKELY_RATIO = 3.0


@dataclass(frozen=True)
class NoiseRequest:
    """What to look at: a file, or with None the base data that the champion was taught from."""

    data: Path | None = None
    text_column: str | None = None
    label_column: str | None = None
    base: str | None = None
    seed: int = 0


class DoubtfulRow(BaseModel):
    """One row, with the label it has and the likeliest one."""

    text: str
    given: str
    likely: str
    given_probability: float
    likely_probability: float
    split: str


class NoiseReport(BaseModel):
    """Rows by how doubtful their labels are, the worst first."""

    source: str
    rows: int
    probably_wrong: int = Field(description="Rows of which another label is at least three times as probable.")
    accuracy: float = Field(description="Share of rows whose label a head that had not seen them gives too.")
    doubtful: list[DoubtfulRow]


def audit(settings: Settings, request: NoiseRequest, progress: Report = silent, *, most: int = 100) -> NoiseReport:
    """Return the ``most`` doubtful rows of a data set. Features and heads are fitted for it alone; no version is asked.

    Raises:
        DataError: the file is refused, or holds too few rows or labels.
        EncoderError: the base encoder cannot be read.
    """
    settings.home.prepare()
    source, examples = _examples(settings, request)
    names = LabelSet.of(example.label for example in examples)
    if len(examples) < _LEAST_ROWS or len(names) < 2:
        raise DataError(f"{source} has {len(examples)} rows of {len(names)} labels; {_LEAST_ROWS} rows of 2 are needed")
    stages = Stages({"encode": 0.8, "fit": 0.2}, progress)
    texts = [clean(example.text, TextSettings.model_validate({})) for example in examples]
    rows = frozen_features(settings, texts, base=request.base, on_share=lambda share: stages.at("encode", share))
    labels = np.array([names.index(example.label) for example in examples], dtype=np.int64)
    stages.at("fit")
    scores = cross_validated(rows, labels, classes=len(names), seed=request.seed)
    ranked, gap = rank(scores, labels)
    place = np.arange(len(labels))
    likely = _best_other(scores, labels)
    given_p, likely_p = scores[place, labels], scores[place, likely]
    doubtful = [
        DoubtfulRow(
            text=examples[row].text,
            given=examples[row].label,
            likely=names.names[int(likely[row])],
            given_probability=round(float(given_p[row]), 4),
            likely_probability=round(float(likely_p[row]), 4),
            split=examples[row].split,
        )
        for row in ranked[:most]
        if gap[row] > 0
    ]
    return NoiseReport(
        source=source,
        rows=len(examples),
        probably_wrong=int((likely_p >= _LIKELY_RATIO * given_p).sum()),
        accuracy=float((scores.argmax(axis=1) == labels).mean()),
        doubtful=doubtful,
    )


def rank(scores: FloatMatrix, labels: IntVector) -> tuple[IntVector, FloatMatrix]:
    """Return places by how doubtful the labels are, the worst first, and how much more probable another label is (n,)."""
    place = np.arange(len(labels))
    gap = scores[place, _best_other(scores, labels)] - scores[place, labels]
    return np.argsort(-gap, kind="stable"), gap


def _best_other(scores: FloatMatrix, labels: IntVector) -> IntVector:
    others = scores.copy()
    others[np.arange(len(labels)), labels] = -1.0
    return np.asarray(others.argmax(axis=1), dtype=np.int64)


def _examples(settings: Settings, request: NoiseRequest) -> tuple[str, list[Example]]:
    if request.data is None:
        return "the base data", list(BaseDataset.load(settings.home.datasets).examples)
    table = read_table(request.data, text_column=request.text_column, label_column=request.label_column)
    examples, report = to_examples(table, TextSettings.model_validate({}), to_train=False)
    return report.source, examples
