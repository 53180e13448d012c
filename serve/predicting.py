"""From texts to predictions: one model captured per request, its answers ranked, named and handed to the log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter, time_ns
from typing import Any, Literal

import numpy as np

from core.explanation import Explanation
from core.metrics import Metrics
from core.schemas import PredictionRecord, Source, now
from core.text import text_key
from feedback.prediction_log import PredictionLog
from serve.batching import Batcher
from serve.jobs import Scored, Timing
from serve.swap import Loaded, ModelSlot

# Ranking, naming and hashing beyond this many labels or characters takes milliseconds, which other requests need not wait for.
INLINE_SCORES = 4_000
_INLINE_CHARS = 20_000


@dataclass(frozen=True)
class Options:
    """How to answer; the defaults are what the hot path is made for.

    ``top_k`` None scores all labels. ``function`` turns calibrated logits into the scores that are shown. ``truncation`` says
    which end of a text is read when the encoder cannot read all of it (``refuse`` raises
    :class:`~core.errors.TextTooLong`); with ``long_text="chunk"`` it is read in windows instead. ``min_score`` is the
    probability below which the answer abstains, whatever ``function`` is.
    """

    top_k: int | None = None
    function: Literal["softmax", "sigmoid", "none"] = "softmax"
    truncation: Literal["right", "left", "refuse"] = "right"
    long_text: Literal["truncate", "chunk"] = "truncate"
    min_score: float | None = None
    explain: bool = False


@dataclass(frozen=True)
class Query:
    """What to answer; ``metadata`` is kept with each prediction."""

    texts: Sequence[str]
    options: Options = Options()
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answered text; ``scores`` are labels with what ``function`` makes of them, best first, at least one.

    ``abstained`` answers keep their best guess. ``windows`` is in how many parts the text was read.
    """

    prediction_id: str
    scores: list[tuple[str, float]]
    truncated: bool
    abstained: bool = False
    windows: int = 1
    explanation: Explanation | None = None


@dataclass(frozen=True)
class Predictions:
    """One answered request; all of it comes from ``version``, whose ``labels`` are in the order of its head's rows."""

    version: str
    source: Source
    predictions: list[Prediction]
    timing: Timing
    labels: Sequence[str]


class Predictor:
    """Answers queries by whatever model is in ``slot``; ``log`` None keeps no record."""

    def __init__(self, slot: ModelSlot, batcher: Batcher, log: PredictionLog | None, metrics: Metrics) -> None:
        self._slot = slot
        self._batcher = batcher
        self._log = log
        self._metrics = metrics

    async def predict(self, query: Query) -> Predictions:
        """Return one prediction per text, in order; the texts have been checked.

        Raises:
            NoModel: none is loaded.
            Overloaded: too many texts wait.
        """
        started = perf_counter()
        # Read once: whatever is swapped in from here on, this request has one version.
        loaded = self._slot.require()
        scored = await self._batcher.score(loaded.classifier, query.texts)
        chars = sum(map(len, query.texts))
        if scored.scores.size > INLINE_SCORES or chars > _INLINE_CHARS:
            answer, records = await asyncio.to_thread(self._conclude, loaded, query, scored)
        else:
            answer, records = self._conclude(loaded, query, scored)
        if self._log is not None:
            self._log.put(records)
        self._metrics.count("hone_predictions_total", len(query.texts), version=loaded.version, source=loaded.source)
        elapsed = perf_counter() - started
        for _ in query.texts:
            self._metrics.observe("hone_prediction_seconds", elapsed, version=loaded.version)
        return answer

    def _conclude(self, loaded: Loaded, query: Query, scored: Scored) -> tuple[Predictions, list[PredictionRecord]]:
        predictions = rank(loaded.classifier.labels.names, scored, query.options.top_k)
        records = record(loaded, query, predictions) if self._log is not None else []
        return Predictions(loaded.version, loaded.source, predictions, scored.timing, loaded.classifier.labels.names), records


def rank(labels: Sequence[str], scored: Scored, top_k: int | None) -> list[Prediction]:
    """Return a named prediction per text: the labels of the ``top_k`` best scores, equal ones in the order of ``labels``."""
    scores = scored.scores
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    best = scores[np.arange(len(scores))[:, None], order].astype(np.float64).round(6)
    rows = zip(_new_ids(len(scores)), order.tolist(), best.tolist(), scored.truncated, strict=True)
    return [
        Prediction(name, [(labels[place], score) for place, score in zip(places, row, strict=True)], truncated)
        for name, places, row, truncated in rows
    ]


def record(loaded: Loaded, query: Query, predictions: Sequence[Prediction]) -> list[PredictionRecord]:
    """Return what the store keeps of ``predictions``."""
    moment = now()
    # The fields are of Hone's own making, so validating them once more would only cost time.
    return [
        PredictionRecord.model_construct(
            prediction_id=prediction.prediction_id,
            created_at=moment,
            text=text,
            text_key=text_key(text),
            label=prediction.scores[0][0],
            score=prediction.scores[0][1],
            model_version=loaded.version,
            source=loaded.source,
            metadata=query.metadata,
        )
        for text, prediction in zip(query.texts, predictions, strict=True)
    ]


def _new_ids(count: int) -> list[str]:
    # The time comes first, so that the store's index grows at its end.
    moment = f"p_{time_ns() // 1_000_000:012x}"
    random = os.urandom(10 * count).hex()
    return [moment + random[start : start + 20] for start in range(0, len(random), 20)]
