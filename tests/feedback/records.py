"""Records to fill a store with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from core.schemas import CorrectionKind, PredictionRecord
from core.text import text_key
from feedback.corrections import TrainingCorrection


def prediction(number: int = 0, *, label: str = "positive", version: str = "v1", **changes: Any) -> PredictionRecord:
    """Return a prediction whose id and text are told apart by ``number``."""
    words = f"text number {number}"
    fields: dict[str, Any] = {
        "prediction_id": f"p{number}",
        "created_at": datetime(2025, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        "text": words,
        "text_key": text_key(words),
        "label": label,
        "score": 0.75,
        "model_version": version,
        "source": "head",
        "metadata": {"channel": "web", "depth": [1, None]},
    }
    return PredictionRecord.model_validate({**fields, **changes})


def training_correction(sequence: int, words: str, label: str, kind: CorrectionKind = "correction") -> TrainingCorrection:
    """Return a correction as the store hands it to training."""
    return TrainingCorrection(sequence, words, text_key(words), label, kind, None, None, None)
