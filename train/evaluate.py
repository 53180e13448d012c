"""``hone evaluate``: how good a version is on a labelled file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from core.bundle import HEAD, NGRAMS, Manifest, read_manifest
from core.classifier import Classifier, Head, softmax
from core.errors import DataError
from core.ngrams import Ngrams
from core.text import Split, TextSettings, clean
from feedback.examples import Example
from train.cleaning import to_examples
from train.head import FeatureRows, logits
from train.measure import ClassReport, by_class, confusion, summary
from train.reading import read_table
from train.vectorise import ngram_rows

Engine = Literal["serving", "fp32", "int8", "torch"]


class EvaluationReport(BaseModel):
    """Numbers on one split of a file."""

    source: str
    split: str
    engine: Engine
    rows: int
    unknown_labels: int = Field(description="Rows left out because the model does not know their label.")
    metrics: dict[str, float]
    classes: list[ClassReport]
    labels: list[str]
    confusion: list[list[int]] = Field(description="Row: the right label, column: the answer, both in the order of `labels`.")
    texts_per_s: float
    agreement_ratio: float | None = Field(None, description="Rows answered as `compared_with` answers them.")
    compared_with: Engine | None = None


@dataclass(frozen=True)
class Asked:
    """Rows of one split of a file that a model is asked: ``truth`` (n,) are places among its labels.

    ``others`` are rows of the split whose label the model does not know.
    """

    source: str
    split: Split | Literal["all"]
    examples: list[Example]
    truth: NDArray[np.int64]
    others: list[Example]

    @classmethod
    def of(cls, source: str, split: Split | Literal["all"], examples: Sequence[Example], labels: Sequence[str]) -> Asked:
        """Return the rows of ``split``, for a model of ``labels``.

        Raises:
            DataError: when the model knows the label of none.
        """
        chosen = [example for example in examples if split in ("all", example.split)]
        places = {label: place for place, label in enumerate(labels)}
        known = [example for example in chosen if example.label in places]
        if not known:
            raise DataError(f"{source} has {len(chosen)} rows in the split {split}, none with a label the model knows")
        truth = np.array([places[example.label] for example in known], dtype=np.int64)
        return cls(source, split, known, truth, [example for example in chosen if example.label not in places])

    @property
    def texts(self) -> list[str]:
        """The texts of the rows."""
        return [example.text for example in self.examples]


def evaluate_file(
    folder: Path,
    data: Path,
    *,
    split: Split | Literal["all"] | None = None,
    engine: Engine = "serving",
    compare_with: Engine | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
) -> EvaluationReport:
    """Return how the bundle in ``folder`` does on a labelled file.

    Args:
        folder: the bundle.
        data: a file as ``hone train`` reads it.
        split: which part; None takes the test part when the file names splits, else all rows.
        engine: which of the bundle's engines answers; ``torch`` runs the weights themselves.
        compare_with: another engine, to count on how many rows the two give the same label.
        text_column, label_column: names of the columns, when they cannot be guessed.

    Raises:
        DataError: when the file is refused or no row is left.
    """
    table = read_table(data, text_column=text_column, label_column=label_column)
    examples, _ = to_examples(table, TextSettings.model_validate({}), to_train=False)
    wanted = split or ("test" if table.split else "all")
    manifest = read_manifest(folder)
    asked = Asked.of(table.name, wanted, examples, manifest.labels)
    scores, took_s = timed_scores(folder, manifest, asked.texts, engine)
    report = report_of(asked, scores, manifest.labels, engine=engine, took_s=took_s)
    if compare_with is None:
        return report
    other, _ = timed_scores(folder, manifest, asked.texts, compare_with)
    agreement = float((other.argmax(axis=1) == scores.argmax(axis=1)).mean())
    return report.model_copy(update={"agreement_ratio": agreement, "compared_with": compare_with})


def report_of(
    asked: Asked, scores: NDArray[np.float32], labels: list[str], *, engine: Engine, took_s: float
) -> EvaluationReport:
    """Return the numbers of probabilities (n, c) that were given to ``asked`` within ``took_s``."""
    answers = scores.argmax(axis=1)
    return EvaluationReport(
        source=asked.source,
        split=asked.split,
        engine=engine,
        rows=len(asked.examples),
        unknown_labels=len(asked.others),
        metrics=summary(scores, asked.truth),
        classes=by_class(answers, asked.truth, labels),
        labels=labels,
        confusion=confusion(answers, asked.truth, len(labels)),
        texts_per_s=len(asked.examples) / max(took_s, 1e-9),
    )


def timed_scores(folder: Path, manifest: Manifest, texts: Sequence[str], engine: Engine) -> tuple[NDArray[np.float32], float]:
    """Return the probabilities (n, c) that ``engine`` gives, and the seconds it took, loading left out.

    Raises:
        BundleError: the bundle cannot be trusted or read, or has no such engine.
    """
    if engine == "torch" and manifest.encoder is not None:
        began = time.monotonic()
        return _torch_scores(folder, manifest, list(texts)), time.monotonic() - began
    variant = engine if engine in ("fp32", "int8") else None
    classifier = Classifier.load(folder, variant=variant)
    began = time.monotonic()
    return classifier.predict(texts), time.monotonic() - began


def _torch_scores(folder: Path, manifest: Manifest, texts: list[str]) -> NDArray[np.float32]:
    from train.base import load_base
    from train.tensors import embed_ids

    base = load_base(str(folder / "encoder"))
    cleaned = [clean(text, manifest.text) for text in texts]
    base.tokenizer.enable_truncation(max_length=manifest.encoder.max_tokens if manifest.encoder else 0)
    embeddings = embed_ids(base, [encoding.ids for encoding in base.tokenizer.encode_batch(cleaned)])
    rows = ngram_rows(Ngrams.load(folder / NGRAMS), cleaned) if manifest.ngrams is not None else None
    return softmax(logits(Head.load(folder / HEAD), FeatureRows(embeddings, rows)) / np.float32(manifest.temperature))
