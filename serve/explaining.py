"""Why a text got its label: shortened texts are scored like any others, and their scores shared out among the parts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace

from core.errors import TooManyTexts
from core.explanation import Attribution, Explanation
from core.schemas import ScoreFunction
from core.shapley import Plan, plan_subsets, shapley_values
from core.words import Part, group_parts, keep_parts, split_parts
from serve.batching import Batcher
from serve.jobs import Engine, Manner
from serve.queries import Prediction, Predictions, Query
from serve.ranking import apply

# As many as a person will look at, and few enough for four orders and their reverses in the default number of evaluations.
_MOST_PARTS = 32
# Others' texts get their turn between slices; a CPU is hardly faster at larger ones.
_SLICE_TEXTS = 8
# Of a long text fewer and larger parts are told apart: at the 20,000 tokens a second that MiniLM int8 reads on two cores, so
# much takes a second or two.
_MOST_CHARS = 100_000
_FEWEST_EVALUATIONS = 30


class Explainer:
    """Explains at most ``max_texts`` texts of a request, each by scoring the empty one and ``evaluations`` more at most."""

    def __init__(self, batcher: Batcher, *, max_texts: int, evaluations: int) -> None:
        self._batcher = batcher
        self._max_texts = max_texts
        self._evaluations = evaluations

    def check(self, texts: int) -> None:
        """Raise ``TooManyTexts`` when more explanations are asked for than are given at a time."""
        if texts > self._max_texts:
            raise TooManyTexts(
                f"got {texts} texts to explain, at most {self._max_texts} may come in one request",
                got=texts,
                allowed=self._max_texts,
            )

    async def explain(self, engine: Engine, query: Query, manner: Manner, answer: Predictions) -> Predictions:
        """Return ``answer``, which ``engine`` gave, with an explanation of each prediction and the time that took.

        Raises:
            Overloaded: the queue has no room for the shortened texts.
        """
        # Taking a word out may leave more tokens than there were, which is no fault of the caller's.
        scoring = _Scoring(self._batcher, engine, replace(manner, refuses_cuts=False), query.options.function, answer)
        predictions = []
        for text, prediction in zip(query.texts, answer.predictions, strict=True):
            if prediction.recalled is not None:
                # No word moved this score: a person said so.
                predictions.append(prediction)
                continue
            explanation = await self._explain_one(scoring, text, prediction)
            predictions.append(replace(prediction, explanation=explanation))
        return replace(answer, predictions=predictions, timing=scoring.timing)

    def _plan(self, text: str) -> tuple[list[Part], Plan]:
        # Half of a text is left out on average.
        evaluations = min(self._evaluations, max(_FEWEST_EVALUATIONS, 2 * _MOST_CHARS // len(text)))
        # So many that one order and its reverse are within the budget.
        parts = group_parts(split_parts(text), min(_MOST_PARTS, evaluations // 2 + 1))
        # One text is always explained alike.
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
        return parts, plan_subsets(len(parts), evaluations, seed)

    async def _explain_one(self, scoring: _Scoring, text: str, prediction: Prediction) -> Explanation:
        label, score = prediction.scores[0]
        parts, plan = await asyncio.to_thread(self._plan, text)
        masks = [0, *plan.subsets]
        scores = await scoring.scores(label, [keep_parts(text, parts, mask) for mask in masks])
        # The whole text has its score: that of the answer, so that the sum holds for the numbers the caller sees.
        values = {plan.whole: score} | dict(zip(masks, scores, strict=True))
        return Explanation(
            label=label,
            method="shapley" if plan.exact else "shapley_sampled",
            score=score,
            baseline_score=values[0],
            evaluations=len(masks),
            attributions=[
                Attribution(start, end, text[start:end], value)
                for (start, end), value in zip(parts, shapley_values(plan, values), strict=True)
            ],
        )


class _Scoring:
    """Scores shortened texts for one label as the request's own texts were scored, and adds up the time it takes."""

    def __init__(self, batcher: Batcher, engine: Engine, manner: Manner, function: ScoreFunction, answer: Predictions) -> None:
        self._batcher = batcher
        self._engine = engine
        self._manner = manner
        self._function = function
        self._labels = list(answer.labels)
        self.timing = answer.timing

    async def scores(self, label: str, texts: Sequence[str]) -> list[float]:
        place = self._labels.index(label)
        scores: list[float] = []
        for start in range(0, len(texts), _SLICE_TEXTS):
            scored = await self._batcher.score(self._engine, texts[start : start + _SLICE_TEXTS], self._manner)
            self.timing += scored.timing
            rows = apply(self._function, scored.scores) if self._manner.logits else scored.scores
            scores += rows[:, place].tolist()
        return scores
