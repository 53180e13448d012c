"""``POST /v1/predict``: the hot path, written against ASGI itself, because a framework's request costs more than the head."""

from __future__ import annotations

import asyncio
from typing import Any

# About a third of the time of pydantic's own writer, on the one thread that all answers share.
import orjson
from starlette.types import Receive, Scope, Send

from core.errors import MalformedBody, UnknownRoute
from core.explanation import Explanation
from core.memory import Recalled
from core.schemas import PredictRequest
from core.settings import Settings
from core.shapley import SOURCE
from serve.parsing import check_metadata, check_text, check_texts, read_json
from serve.predicting import INLINE_SCORES, Predictor
from serve.queries import PLAIN_OPTIONS, Options, Prediction, Predictions, Query

PATH = "/v1/predict"

_PLAIN_FIELDS = frozenset({"text", "texts", "metadata", "subject"})


class PredictRoute:
    """Answers one text with one prediction and several with several."""

    def __init__(self, predictor: Predictor, settings: Settings) -> None:
        self._predictor = predictor
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["hone.route"] = PATH
        if scope["method"] != "POST":
            raise UnknownRoute("this path takes POST only", allowed=["POST"])
        request = await read_json(scope, receive, PredictRequest, self._settings)
        answer = await self._predictor.predict(self._query(request))
        single = request.texts is None
        if len(answer.predictions) * len(answer.predictions[0].scores) > INLINE_SCORES:
            body = await asyncio.to_thread(_render, answer, single=single)
        else:
            body = _render(answer, single=single)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _query(self, request: PredictRequest) -> Query:
        if (request.text is None) == (request.texts is None):
            got = "neither" if request.text is None else "both"
            raise MalformedBody(f"got {got} of text and texts; send exactly one of them", allowed=["text", "texts"])
        if request.text is not None:
            check_text(request.text, "text", self._settings)
            texts = [request.text]
        else:
            texts = request.texts or []
            check_texts(texts, self._settings)
        check_metadata(request.metadata)
        return Query(texts, _options(request), request.metadata, subject=request.subject)


def _options(request: PredictRequest) -> Options:
    if _PLAIN_FIELDS.issuperset(request.model_fields_set):
        return PLAIN_OPTIONS
    if request.explain and request.long_text == "chunk":
        raise MalformedBody("explain and long_text=chunk do not go together; send one of them", fields=["explain", "long_text"])
    return Options(
        top_k=request.top_k,
        function=request.function_to_apply,
        truncation=request.truncation,
        long_text=request.long_text,
        min_score=request.min_score,
        explain=request.explain,
    )


def _render(answer: Predictions, *, single: bool) -> bytes:
    if single:
        return orjson.dumps(_one(answer, answer.predictions[0]))
    predictions = [_one(answer, prediction) for prediction in answer.predictions]
    return orjson.dumps({"model_version": answer.version, "predictions": predictions})


def _one(answer: Predictions, prediction: Prediction) -> dict[str, Any]:
    """Return a ``PredictionAnswer`` as plain values; a test holds the two equal."""
    label, score = prediction.scores[0]
    told = {
        "prediction_id": prediction.prediction_id,
        "label": label,
        "score": score,
        "scores": [{"label": name, "score": value} for name, value in prediction.scores],
        "model_version": answer.version,
        "source": answer.source_of(prediction),
        "truncated": prediction.truncated,
        "abstained": prediction.abstained,
        "windows": prediction.windows,
        "explanation": prediction.explanation and _explained(prediction.explanation),
    }
    if prediction.recalled is not None:
        told["memory"] = _recalled(prediction.recalled)
    return told


def _recalled(recalled: Recalled) -> dict[str, Any]:
    """Return a ``MemoryAnswer`` as plain values."""
    return {
        "correction_id": recalled.lesson.correction_id,
        "match": recalled.match,
        "similarity": round(recalled.similarity, 6),
    }


def _explained(explanation: Explanation) -> dict[str, Any]:
    """Return an ``ExplanationAnswer`` as plain values."""
    return {
        "method": explanation.method,
        "source": SOURCE,
        "label": explanation.label,
        "score": explanation.score,
        "baseline_score": explanation.baseline_score,
        "evaluations": explanation.evaluations,
        "attributions": [
            {"start": part.start, "end": part.end, "text": part.text, "attribution": part.value}
            for part in explanation.attributions
        ],
    }
