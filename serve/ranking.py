"""From the engine's rows to named, ranked predictions, and to what the store keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time_ns
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.random_ids import random_hex
from core.schemas import PredictionRecord, ScoreFunction, now
from serve.jobs import FloatMatrix, Scored
from serve.queries import Options, Prediction, Query
from serve.swap import Loaded

DoubleMatrix = NDArray[np.float64]
# Returns names for so many predictions.
NewIds = Callable[[int], list[str]]

SURENESS = 0.99
"""The least probability of a label that the memory gives: so many of its answers are right, or it does not answer."""


class Own(NamedTuple):
    """What the version itself says of a text: its best label, and how probable that is to it."""

    label: str
    probability: float


def new_ids(count: int) -> list[str]:
    """Return ``count`` names that no prediction has."""
    # The time comes first, so that the store's index grows at its end.
    moment = f"p_{time_ns() // 1_000_000:012x}"
    random = random_hex(20 * count)
    return [moment + random[start : start + 20] for start in range(0, len(random), 20)]


def rank(
    labels: Sequence[str], scored: Scored, options: Options, ids: NewIds = new_ids
) -> tuple[list[Prediction], list[float]]:
    """Return a prediction per text, named by ``ids``, and the probability of each one's best label.

    The ``top_k`` best labels are named, equal ones in the order of ``labels``.
    """
    windows, rows = scored.windows, rows_of(scored, options)
    order = np.argsort(-rows, axis=1, kind="stable")[:, : options.top_k]
    shown = rows if options.function == "softmax" else apply(options.function, rows)
    best = shown[np.arange(len(rows))[:, None], order].astype(np.float64).round(6).tolist()
    if options.function == "softmax":
        probabilities = [row[0] for row in best]
    else:
        probabilities = apply("softmax", rows).max(axis=1).round(6).tolist()
    threshold = -1.0 if options.min_score is None else options.min_score
    parts = zip(ids(len(rows)), order.tolist(), best, scored.truncated, probabilities, strict=True)
    predictions = [
        Prediction(
            name,
            [(labels[place], score) for place, score in zip(places, row, strict=True)],
            truncated,
            probability < threshold,
            len(windows[number]) if number in windows else 1,
        )
        for number, (name, places, row, truncated, probability) in enumerate(parts)
    ]
    return predictions, probabilities


def rows_of(scored: Scored, options: Options) -> FloatMatrix | DoubleMatrix:
    """Return one row (n, c) per text: probabilities, or where another function is to be shown, logits."""
    return join_windows(scored, logits=options.function != "softmax") if scored.windows else scored.scores


def apply(function: ScoreFunction, logits: FloatMatrix | DoubleMatrix) -> DoubleMatrix:
    """Return what ``function`` makes of calibrated logits (n, c).

    >>> apply("sigmoid", np.array([[0.0, -1000.0]])).tolist()
    [[0.5, 0.0]]
    """
    rows = np.asarray(logits, dtype=np.float64)
    if function == "softmax":
        powers: DoubleMatrix = np.exp(rows - rows.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    # The hyperbolic tangent does not overflow, however large a logit is.
    return 0.5 * (1.0 + np.tanh(0.5 * rows)) if function == "sigmoid" else rows


def join_windows(scored: Scored, *, logits: bool) -> DoubleMatrix:
    """Return one row (c,) per text: the mean of its windows' probabilities, weighted by the tokens each has read.

    Of ``logits``, those whose softmax is that mean are returned, at the height of the windows' mean; so whatever function is
    shown, the ranking is the same.
    """
    texts = len(scored.truncated)
    joined = scored.scores[:texts].astype(np.float64)
    for place, windows in scored.windows.items():
        rows = scored.scores[[row for row, _ in windows]].astype(np.float64)
        weights = np.array([[max(1, tokens)] for _, tokens in windows], dtype=np.float64)
        weights /= weights.sum()
        if logits:
            heights = np.logaddexp.reduce(rows, axis=1, keepdims=True)
            joined[place] = np.logaddexp.reduce(rows - heights + np.log(weights), axis=0) + (weights * heights).sum()
        else:
            joined[place] = (weights * rows).sum(axis=0)
    return joined


def record(
    loaded: Loaded, query: Query, keys: Sequence[str], answers: Sequence[tuple[Prediction, Own]]
) -> list[PredictionRecord]:
    """Return what the store keeps of predictions: the best label and its probability, also where the answer abstains.

    ``keys`` are those of the query's texts. Where the memory answered, what the version had said is kept beside it.
    """
    moment = now()
    # Checked, though they are of Hone's own making: to construct a model without takes pydantic twice the time.
    return [
        PredictionRecord(
            prediction_id=prediction.prediction_id,
            created_at=moment,
            text=text,
            text_key=key,
            model_version=loaded.version,
            metadata=query.metadata,
            subject=query.subject,
            **_answered(loaded, prediction, own),
        )
        for text, key, (prediction, own) in zip(query.texts, keys, answers, strict=True)
    ]


def _answered(loaded: Loaded, prediction: Prediction, own: Own) -> dict[str, Any]:
    if prediction.recalled is None:
        return {"label": own.label, "score": own.probability, "source": loaded.source}
    told = {"model_label": own.label, "model_score": own.probability}
    return {"label": prediction.scores[0][0], "score": SURENESS, "source": "memory", **told}
