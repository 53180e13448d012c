"""``hone evaluate``: how good a version is on a labelled file."""

from __future__ import annotations

import time
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
    chosen = [example for example in examples if wanted in ("all", example.split)]
    known = [example for example in chosen if example.label in manifest.labels]
    if not known:
        raise DataError(f"{table.name} has {len(chosen)} rows in the split {wanted}, none with a label the model knows")
    texts = [example.text for example in known]
    truth = np.array([manifest.labels.index(example.label) for example in known], dtype=np.int64)
    began = time.monotonic()
    scores = _scores(folder, manifest, texts, engine)
    took_s = time.monotonic() - began
    answers = scores.argmax(axis=1)
    agreement = None
    if compare_with is not None:
        agreement = float((_scores(folder, manifest, texts, compare_with).argmax(axis=1) == answers).mean())
    return EvaluationReport(
        source=table.name,
        split=wanted,
        engine=engine,
        rows=len(known),
        unknown_labels=len(chosen) - len(known),
        metrics=summary(scores, truth),
        classes=by_class(answers, truth, manifest.labels),
        labels=manifest.labels,
        confusion=confusion(answers, truth, len(manifest.labels)),
        texts_per_s=len(known) / took_s,
        agreement_ratio=agreement,
        compared_with=compare_with,
    )


def _scores(folder: Path, manifest: Manifest, texts: list[str], engine: Engine) -> NDArray[np.float32]:
    if engine == "torch" and manifest.encoder is not None:
        return _torch_scores(folder, manifest, texts)
    variant = engine if engine in ("fp32", "int8") else None
    return Classifier.load(folder, variant=variant).predict(texts)


def _torch_scores(folder: Path, manifest: Manifest, texts: list[str]) -> NDArray[np.float32]:
    from train.base import load_base
    from train.tensors import embed_ids

    base = load_base(str(folder / "encoder"))
    cleaned = [clean(text, manifest.text) for text in texts]
    base.tokenizer.enable_truncation(max_length=manifest.encoder.max_tokens if manifest.encoder else 0)
    embeddings = embed_ids(base, [encoding.ids for encoding in base.tokenizer.encode_batch(cleaned)])
    rows = ngram_rows(Ngrams.load(folder / NGRAMS), cleaned) if manifest.ngrams is not None else None
    return softmax(logits(Head.load(folder / HEAD), FeatureRows(embeddings, rows)) / np.float32(manifest.temperature))
