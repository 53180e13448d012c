"""What is checked of a correction before anything is asked of the store, whichever way it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import MalformedBody
from core.schemas import CorrectionRequest
from core.settings import Settings
from serve.parsing import check_metadata, check_text


def check_correction(correction: CorrectionRequest, settings: Settings) -> None:
    """Raise unless the correction can be kept, whatever its label.

    Raises:
        MalformedBody: neither ``prediction_id`` nor ``text``, or a character that no store keeps.
        InvalidText: the text cannot be answered, so it cannot be learned.
    """
    if correction.prediction_id is None and correction.text is None:
        raise MalformedBody("got neither prediction_id nor text; send one of them", allowed=["prediction_id", "text"])
    if correction.text is not None:
        check_text(correction.text, "text", settings)
    check_words(correction.annotator, correction.metadata, correction.prediction_id)


def check_words(annotator: str | None, metadata: Mapping[str, Any] | None, prediction_id: str | None = None) -> None:
    """Raise MalformedBody unless every store can keep these fields of a body about a correction."""
    for name, value in (("prediction_id", prediction_id), ("annotator", annotator)):
        if value is not None and "\0" in value:
            raise MalformedBody(f"{name} holds a NUL character; remove it", field=name)
    check_metadata(metadata)
