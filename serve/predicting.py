"""From texts to predictions: one model captured per request, its answers ranked, named and handed to the log."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import perf_counter
from typing import Protocol

from core.discretion import AS_SENT, Discretion
from core.metrics import Metrics
from core.schemas import PredictionRecord, Source
from core.text import text_key
from feedback.prediction_log import PredictionLog
from serve.batching import Batcher
from serve.explaining import Explainer
from serve.facts import FACTS
from serve.jobs import PLAIN, Manner, Scored, Timing
from serve.queries import PLAIN_OPTIONS, Options, Prediction, Predictions, Query
from serve.ranking import NewIds, new_ids, rank, record
from serve.recalling import Recall, own_answer
from serve.slot import Loaded
from serve.subject import SUBJECT
from serve.traffic import Traffic

# Ranking, naming and hashing beyond this many labels or characters takes milliseconds, which other requests need not wait for.
INLINE_SCORES = 4_000
_INLINE_CHARS = 20_000
_STAGES = ("tokenization", "queue", "engine")


__all__ = ["Options", "Prediction", "Predictions", "Predictor", "Query", "Timing"]


class Remembers(Protocol):
    """What knows what people said that versions have not learned yet."""

    def recall(self, loaded: Loaded) -> Recall | None:
        """Return what there is to recall where this version answers, None for nothing."""


class Predictor:
    """Answers queries by the version that ``traffic`` names; ``log`` None keeps no record, and ``ids`` names predictions."""

    def __init__(
        self,
        traffic: Traffic,
        batcher: Batcher,
        explainer: Explainer,
        log: PredictionLog | None,
        metrics: Metrics,
        discretion: Discretion = AS_SENT,
        ids: NewIds = new_ids,
        memory: Remembers | None = None,
    ) -> None:
        self._ids = ids
        self._discretion = discretion
        self._memory = memory
        self._traffic = traffic
        self._batcher = batcher
        self._explainer = explainer
        self._log = log
        self._metrics = metrics
        labels = ("version", "source")
        self._texts = metrics.meter([("hone_predictions_total", {}), ("hone_prediction_seconds", {})], labels)
        self._stages = metrics.meter([("hone_stage_seconds", {"stage": stage}) for stage in _STAGES], labels)

    async def predict(self, query: Query) -> Predictions:
        """Return one prediction per text, in order; the texts have been checked.

        Raises:
            NoModel: none is loaded.
            UnknownVersion: the query insists on one that does not answer here.
            Overloaded: too many texts wait.
            TextTooLong: one would have to be cut, and the query refuses that.
            TooManyTexts: too many are to be explained at a time.
        """
        if query.options.explain:
            self._explainer.check(len(query.texts))
        return await self._traffic.answer(query.texts, lambda loaded: self._answer(loaded, query), query.version)

    async def _answer(self, loaded: Loaded, query: Query) -> Predictions:
        started = perf_counter()
        manner = PLAIN if query.options is PLAIN_OPTIONS else _manner(query.options)
        # Chosen once, like the version.
        recall = self._memory.recall(loaded) if self._memory is not None else None
        seek = recall.seek if recall is not None else None
        scored = await self._batcher.score(loaded.classifier, query.texts, manner, seek)
        chars = sum(map(len, query.texts))
        if scored.scores.size > INLINE_SCORES or chars > _INLINE_CHARS:
            answer, records = await asyncio.to_thread(self._conclude, loaded, query, scored, recall)
        else:
            answer, records = self._conclude(loaded, query, scored, recall)
        # An explanation is not part of what predicting takes.
        elapsed = perf_counter() - started
        if query.options.explain:
            answer = await self._explainer.explain(loaded.classifier, query, manner, answer)
        if self._log is not None:
            self._log.put(records)
        self._measure(answer, scored.timing, elapsed)
        return answer

    def _measure(self, answer: Predictions, timing: Timing, elapsed: float) -> None:
        texts = answer.predictions
        facts = FACTS.get()
        if facts is not None:
            facts.texts, facts.version, facts.source = len(texts), answer.version, answer.source
        sources: dict[Source, int] = {}
        for text in texts:
            source = answer.source_of(text)
            sources[source] = sources.get(source, 0) + 1
        for source, count in sources.items():
            self._texts.add((answer.version, source), (1, elapsed), count)
        self._stages.add((answer.version, answer.source), (timing.tokenize_s, timing.queue_s, timing.engine_s))
        if truncated := sum(text.truncated for text in texts):
            self._metrics.count("hone_truncated_total", truncated, version=answer.version)
        if abstained := sum(text.abstained for text in texts):
            self._metrics.count("hone_abstained_total", abstained, version=answer.version)

    def _conclude(
        self, loaded: Loaded, query: Query, scored: Scored, recall: Recall | None
    ) -> tuple[Predictions, list[PredictionRecord]]:
        labels = loaded.classifier.labels.names
        predictions, probabilities = rank(labels, scored, query.options, self._ids)
        own = [own_answer(*pair) for pair in zip(predictions, probabilities, strict=True)]
        keys = [text_key(text) for text in query.texts] if self._log is not None or recall is not None else []
        if recall is not None:
            predictions = recall.applied(predictions, own, keys, scored, labels, query.options)
        records = []
        if self._log is not None:
            records = record(loaded, self._named(query), keys, list(zip(predictions, own, strict=True)))
        return Predictions(loaded.version, loaded.source, predictions, scored.timing, labels), records

    def _named(self, query: Query) -> Query:
        """Return the query with a pseudonym for the person it names, so that their key reaches neither queue nor spool."""
        subject = query.subject or SUBJECT.get()
        return query if subject is None else replace(query, subject=self._discretion.pseudonym(subject))


def _manner(options: Options) -> Manner:
    logits = options.function != "softmax"
    if options.long_text == "chunk":
        return Manner("windows", logits=logits)
    return Manner("left" if options.truncation == "left" else "right", options.truncation == "refuse", logits)
