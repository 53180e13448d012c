"""The linear floor: n-grams under a linear head, taught on the rows a version was taught on, at its price."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from core.bundle import Manifest, NgramSpec
from core.classifier import Classifier
from core.gate_statistics import loss_bounds, mcnemar
from core.labels import LabelSet
from core.ngrams import Ngrams
from core.text import TextSettings
from feedback.snapshot import Snapshot
from train.head import FeatureRows, fit_head, fit_temperature, logits
from train.measure import summary
from train.rows import Rows
from train.uncertainty import Interval, share
from train.vectorise import fit_ngrams, most_ngrams, ngram_rows

FloatMatrix = NDArray[np.float32]
IntVector = NDArray[np.int64]

# The normal distribution's quantile for a central 95%.
_Z = 1.959964
# Quotes, comma and frequency of a term in the vocabulary's JSON.
_BYTES_A_TERM = 14


class Cost(BaseModel):
    """What a model takes."""

    texts_per_s: float = Field(description="In this process, one after the other, loading left out; other work slows it.")
    served_bytes: int = Field(description="What is loaded to answer: head, vocabulary, tokenizer, engine.")
    train_s: float


class FloorReport(BaseModel):
    """How the floor does on the same rows, and what the version gains over it."""

    accuracy: Interval
    metrics: dict[str, float]
    ngrams: int
    cost: Cost
    better: int = Field(description="Rows that the version alone answers rightly.")
    worse: int = Field(description="Rows that the floor alone answers rightly.")
    gain: Interval = Field(description="Accuracy gained over the floor, with the interval of paired rows.")
    p_value: float = Field(description="That the gain is chance: McNemar's exact test, one-sided.")


def floor_report(
    snapshot: Snapshot, manifest: Manifest, texts: Sequence[str], truth: IntVector, answers: IntVector
) -> FloorReport:
    """Return the floor taught on ``snapshot`` beside the version's ``answers`` (n,) to ``texts``.

    Raises:
        DataError: there are too few training texts for n-grams.
    """
    names = LabelSet(tuple(manifest.labels))
    rows = Rows.of(snapshot.examples, names, TextSettings.model_validate({}))
    began = time.monotonic()
    floor, ngrams = _teach(rows, manifest)
    train_s = time.monotonic() - began
    began = time.monotonic()
    scores = floor.predict(texts)
    took_s = time.monotonic() - began
    own = scores.argmax(axis=1)
    right, floor_right = answers == truth, own == truth
    better, worse = int((right & ~floor_right).sum()), int((floor_right & ~right).sum())
    accuracy = share(int(floor_right.sum()), len(truth))
    if accuracy is None:
        raise ValueError("the floor is measured on one row at least")
    least, most = loss_bounds(better, worse, len(truth), _Z)
    return FloorReport(
        accuracy=accuracy,
        metrics=summary(scores, truth),
        ngrams=len(ngrams),
        cost=Cost(texts_per_s=len(truth) / max(took_s, 1e-9), served_bytes=_bytes(floor, ngrams), train_s=round(train_s, 2)),
        better=better,
        worse=worse,
        gain=Interval(value=(better - worse) / len(truth), low=-most, high=-least),
        p_value=mcnemar(better, worse),
    )


def _teach(rows: Rows, manifest: Manifest) -> tuple[Classifier, Ngrams]:
    """Return what ``hone train --features ngrams`` makes: temperature by validation rows, then refitted with them."""
    ngrams = fit_ngrams(
        rows.pick(rows.train),
        longest=rows.longest_ngram(),
        min_documents=rows.least_documents(),
        most=most_ngrams(len(rows.names)),
    )
    features = FeatureRows(None, ngram_rows(ngrams, rows.texts))
    classes, temperature = len(rows.names), 1.0
    head = fit_head(features.take(rows.train), rows.labels[rows.train], classes=classes, weights=rows.weights[rows.train])
    if len(rows.validation):
        temperature = fit_temperature(logits(head, features.take(rows.validation)), rows.labels[rows.validation])
        places = rows.learnable
        head = fit_head(features.take(places), rows.labels[places], classes=classes, weights=rows.weights[places], start=head)
    spec = NgramSpec(size=len(ngrams), longest=ngrams.longest, min_documents=rows.least_documents())
    changes: dict[str, Any] = {"features": "ngrams", "encoder": None, "ngrams": spec, "temperature": temperature, "probes": []}
    return Classifier(manifest.model_copy(update=changes), head, None, None, ngrams), ngrams


def _bytes(floor: Classifier, ngrams: Ngrams) -> int:
    """Return about what the floor would take on disk: its weights in fp32, and its terms."""
    weights = floor.head.bias.nbytes + (floor.head.ngrams.nbytes if floor.head.ngrams is not None else 0)
    return int(weights) + sum(len(term.encode()) + _BYTES_A_TERM for term in ngrams.vocabulary)
