"""BentoML with its adaptive batching over the int8 engine; ``bentoml serve`` imports it, so variables say what to load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml

from load_tests.baselines.int8_model import Model

_WORKERS = int(os.environ.get("PEER_WORKERS", "1"))
_BATCH_TEXTS = 128


@bentoml.service(name="hone", workers=_WORKERS, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Classifier:
    """Answers the texts of all requests that wait together."""

    def __init__(self) -> None:
        self._model = Model(Path(os.environ["PEER_BUNDLE"]), int(os.environ["PEER_THREADS"]))

    @bentoml.api(route="/predict", batchable=True, batch_dim=0, max_batch_size=_BATCH_TEXTS)
    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """Return the best label of each text."""
        return [{"label": label, "score": score} for label, score in self._model.answer(texts)]
