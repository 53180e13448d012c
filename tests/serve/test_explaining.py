"""``explain``: attributions that add up, stand at their places, and cost what they may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.classifier import Prepared
from core.errors import Overloaded
from core.metrics import Metrics
from core.schemas import ExplanationAnswer, PredictionAnswer, PredictionsAnswer
from core.windows import Reading
from serve.admission import Admission, QueueLimits
from serve.batching import Batcher
from serve.explaining import Explainer
from serve.jobs import Engine, FloatMatrix, Manner
from serve.queries import Options, Predictions, Query
from serve.ranking import rank
from serve.waiting import BatchBudget
from tests.serve.conftest import Service, Start
from tests.serve.fakes import FakeEngine, until, words

LOGITS = Manner(logits=True)


async def _explain(service: Service, text: str, **options: Any) -> tuple[PredictionAnswer, ExplanationAnswer]:
    response = await service.post("/v1/predict", {"text": text, "explain": True, **options})
    assert response.status_code == 200, response.text
    answer = PredictionAnswer.model_validate_json(response.content)
    assert answer.explanation is not None
    return answer, answer.explanation


def _total(explanation: ExplanationAnswer) -> float:
    return sum(part.attribution for part in explanation.attributions)


async def test_the_words_that_matter_are_named(service: Service) -> None:
    text = "the food was positive today"
    answer, explanation = await _explain(service, text)
    assert (explanation.label, explanation.score) == (answer.label, answer.score) == ("positive", answer.score)
    assert [part.text for part in explanation.attributions] == text.split()
    assert [text[part.start : part.end] for part in explanation.attributions] == text.split()
    assert _total(explanation) == pytest.approx(answer.score - explanation.baseline_score, abs=1e-9)
    values = {part.text: part.attribution for part in explanation.attributions}
    # The other words are unknown to this classifier, so all of the difference is this one's.
    assert values.pop("positive") == pytest.approx(answer.score - explanation.baseline_score, abs=1e-6)
    assert list(values.values()) == pytest.approx([0.0] * 4, abs=1e-6)
    assert (explanation.method, explanation.evaluations) == ("shapley", 2**5 - 1)
    assert "Kononenko" in explanation.source


async def test_the_baseline_is_the_empty_text(service: Service) -> None:
    _, explanation = await _explain(service, "negative food")
    classifier = service.parts.slot.require().classifier
    (scores,) = classifier.predict([""])
    assert explanation.baseline_score == pytest.approx(scores[classifier.labels.index("negative")], abs=1e-6)


some_words = st.sampled_from(["positive", "negative", "neutral", "not", "好", "😍", "بطاقتي", "a,b", "<b>"])


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(some_words, min_size=1, max_size=40).map(" ".join), st.sampled_from(["softmax", "sigmoid", "none"]))
async def test_attributions_sum_to_the_difference(service: Service, text: str, function: str) -> None:
    answer, explanation = await _explain(service, text, function_to_apply=function)
    assert _total(explanation) == pytest.approx(answer.score - explanation.baseline_score, abs=1e-9)
    assert explanation.evaluations <= service.parts.settings.explain_budget_texts + 1
    assert len(explanation.attributions) <= 32
    places = [place for part in explanation.attributions for place in (part.start, part.end)]
    assert places == sorted(places)
    assert all(text[part.start : part.end] == part.text for part in explanation.attributions)
    _, again = await _explain(service, text, function_to_apply=function)
    assert again == explanation


async def test_long_texts_are_explained_by_runs_of_words(start: Start) -> None:
    async with start(changed={"max_text_chars": 20_000, "max_body_bytes": 200_000}) as service:
        text = ("filler " * 2_000 + "positive " + "filler " * 800)[:20_000].strip()
        _, explanation = await _explain(service, text)
        assert (len(explanation.attributions), explanation.method) == (16, "shapley_sampled")
        assert explanation.evaluations <= 31
        assert (explanation.attributions[0].start, explanation.attributions[-1].end) == (0, len(text))
        best = max(explanation.attributions, key=lambda part: part.attribution)
        assert "positive" in best.text


async def test_an_answer_of_several_texts_explains_each(service: Service) -> None:
    texts = ["positive food", "negative food", "neutral"]
    response = await service.post("/v1/predict", {"texts": texts, "explain": True, "top_k": 1})
    answer = PredictionsAnswer.model_validate_json(response.content)
    for text, prediction in zip(texts, answer.predictions, strict=True):
        assert prediction.explanation is not None
        assert [part.text for part in prediction.explanation.attributions] == text.split()
        assert max(part.attribution for part in prediction.explanation.attributions) > 0.3
    # The shortened texts are nobody's predictions.
    assert service.value("hone_predictions_total", version="v1", source="head") == 3.0


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"texts": ["a"] * 5, "explain": True}, 422, "too_many_texts"),
        ({"text": "a", "explain": True, "long_text": "chunk"}, 400, "malformed_body"),
        ({"text": "a", "explain": "please"}, 400, "malformed_body"),
    ],
)
async def test_what_is_not_explained_is_said(service: Service, body: dict[str, Any], status: int, code: str) -> None:
    response = await service.post("/v1/predict", body)
    assert (response.status_code, response.json()["code"]) == (status, code)


class _Counting:
    """Answers by which of the words a, b, c are there, with an effect of a and b together; remembers what it was asked."""

    lanes = 1
    batch_texts: int | None = None

    def __init__(self) -> None:
        self.asked: list[str] = []

    def prepare(self, texts: Sequence[str], reading: Reading = "right") -> list[Prepared]:
        assert reading == "right"
        self.asked += texts
        return [Prepared([1, *(ord(word) for word in text.split())], None, truncated=False) for text in texts]

    def logits_and_embeddings(self, prepared: Sequence[Prepared]) -> tuple[FloatMatrix, FloatMatrix | None]:
        return self.logits(prepared), None

    def score(self, prepared: Sequence[Prepared]) -> FloatMatrix:
        raise AssertionError(f"logits are asked for, of {len(prepared)} texts")

    def logits(self, prepared: Sequence[Prepared]) -> FloatMatrix:
        found = [[letter in item.ids for letter in map(ord, "abc")] for item in prepared]
        rows = [[1.0 * a + 2.0 * b - 3.0 * c + 4.0 * (a and b) + 10.0, 0.0] for a, b, c in found]
        return np.array(rows, dtype=np.float32)


@pytest.fixture
async def batcher() -> AsyncIterator[Batcher]:
    batcher = Batcher(BatchBudget(8, 256), Admission(QueueLimits(8)), Metrics())
    batcher.start()
    yield batcher
    await batcher.close()


async def _answer(batcher: Batcher, engine: Engine, query: Query) -> Predictions:
    scored = await batcher.score(engine, query.texts, LOGITS)
    predictions, _ = rank(("yes", "no"), scored, query.options)
    return Predictions("v1", "head", predictions, scored.timing, ("yes", "no"))


async def test_effects_of_words_together_are_shared(batcher: Batcher) -> None:
    engine = _Counting()
    query = Query(["a b c"], Options(function="none", explain=True))
    answer = await _answer(batcher, engine, query)
    engine.asked.clear()
    explained = await Explainer(batcher, max_texts=1, evaluations=64).explain(engine, query, LOGITS, answer)
    (prediction,) = explained.predictions
    assert prediction.explanation is not None
    assert [part.value for part in prediction.explanation.attributions] == pytest.approx([3.0, 4.0, -3.0])
    assert (prediction.explanation.baseline_score, prediction.explanation.score) == (10.0, 14.0)
    # Every subset once, and the whole text not again.
    assert sorted(engine.asked) == ["", "a ", "a b ", "a c", "b ", "b c", "c"]
    assert explained.timing.tokens == answer.timing.tokens + sum(1 + len(text.split()) for text in engine.asked)


async def test_explaining_is_refused_like_any_other_work(batcher: Batcher) -> None:
    query = Query(["a b c a b c"], Options(function="none", explain=True))
    answer = await _answer(batcher, _Counting(), query)
    busy = FakeEngine()
    busy.free.clear()
    first = asyncio.create_task(batcher.score(busy, [words(1)]))
    assert await asyncio.to_thread(busy.started.wait, 30)
    second = asyncio.create_task(batcher.score(busy, [words(1)]))
    await until(lambda: batcher.waiting_texts == 1)
    with pytest.raises(Overloaded):
        await Explainer(batcher, max_texts=1, evaluations=64).explain(_Counting(), query, LOGITS, answer)
    busy.free.set()
    await asyncio.gather(first, second)
