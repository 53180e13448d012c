"""How each peer is asked and how it answers: paths, bodies, and the labels in an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Body = Callable[[Sequence[str]], dict[str, Any]]
Labels = Callable[[Any], list[str]]


@dataclass(frozen=True)
class Wire:
    """``body`` asks about one text or several; ``labels`` reads the best label of each out of an answer, in order."""

    path: str
    body: Body
    labels: Labels


def _one_or_many(texts: Sequence[str]) -> dict[str, Any]:
    return {"text": texts[0]} if len(texts) == 1 else {"texts": list(texts)}


def _many(texts: Sequence[str]) -> dict[str, Any]:
    return {"texts": list(texts)}


def _inference(texts: Sequence[str], *columns: int) -> dict[str, Any]:
    data = {"name": "text", "datatype": "BYTES", "shape": [len(texts), *columns], "data": list(texts)}
    return {"inputs": [data]}


def _labels(answer: Any) -> list[str]:
    rows = answer if isinstance(answer, list) else [answer]
    return [row["label"] for row in rows]


def _predictions(answer: Any) -> list[str]:
    return [row["label"] for row in answer.get("predictions", [answer])]


def _best(answer: Any) -> list[str]:
    return [max(row, key=lambda item: item["score"])["label"] for row in answer["data"]]


def _outputs(answer: Any) -> list[str]:
    (labels,) = [output["data"] for output in answer["outputs"] if output["name"] == "label"]
    return [str(label) for label in labels]


HONE = Wire("/v1/predict", lambda texts: {**_one_or_many(texts), "top_k": 1}, _predictions)
PIPELINE = Wire("/predict", _one_or_many, _labels)
LISTS = Wire("/predict", _many, _labels)
INFINITY = Wire("/classify", lambda texts: {"model": "hone", "input": list(texts)}, _best)
# Both speak the Open Inference Protocol; Triton wants a column for what one text is.
MLSERVER = Wire("/v2/models/hone/infer", _inference, _outputs)
TRITON = Wire("/v2/models/hone/infer", lambda texts: _inference(texts, 1), _outputs)
