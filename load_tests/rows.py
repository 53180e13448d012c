"""Predictions as a replica would record them, made without a model."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from core.schemas import PredictionRecord

_START = datetime(2026, 1, 1, tzinfo=UTC)
_WORDS = (
    "the",
    "phone",
    "card",
    "transfer",
    "late",
    "order",
    "refund",
    "please",
    "could",
    "my",
    "new",
    "account",
    "wrong",
    "why",
)


def prediction_rows(count: int, *, first: int = 0, mark: str = "", versions: int = 3) -> list[PredictionRecord]:
    """Return ``count`` predictions, told apart by ``mark`` and a number from ``first`` on; the same every time."""
    return [_row(number, mark, versions) for number in range(first, first + count)]


def _row(number: int, mark: str, versions: int) -> PredictionRecord:
    digest = hashlib.sha256(f"{mark}{number}".encode()).digest()
    # Not its real key, which takes longer to make than the row takes to write; as random as one.
    return PredictionRecord.model_construct(
        prediction_id=f"p_{mark}{number:012x}{digest[:4].hex()}",
        created_at=_START + timedelta(milliseconds=number),
        text=" ".join(_WORDS[byte % len(_WORDS)] for byte in digest[:14]) + f" {number}",
        text_key=digest[16:].hex(),
        label=f"label {digest[4] % 77}",
        score=int.from_bytes(digest[5:8]) / 2**24,
        model_version=f"v{1 + digest[8] % versions}",
        source="head",
        metadata=None,
        text_kept="full",
        sample_ratio=1.0,
    )
