"""Taking a correction in, whichever format it came in: checked, durable before it is acknowledged, counted once."""

from __future__ import annotations

import asyncio
import re

from core.errors import MalformedBody, UnknownPrediction
from core.schemas import CorrectionAnswer, CorrectionRequest, now
from feedback.store import Store
from serve.parsing import check_metadata, check_text
from serve.parts import Parts

# How long a prediction may be on its way from another replica's queue to the store before its id counts as unknown.
_ARRIVAL_S = 1.0
_LOOK_EVERY_S = 0.1
_KEY = re.compile(r"[\x21-\x7e]{1,200}")


async def accept(correction: CorrectionRequest, key: str | None, parts: Parts) -> CorrectionAnswer:
    """Return the correction as it stands in the store; sent again with the same ``key`` it is answered as at first.

    Raises:
        MalformedBody, InvalidText, UnknownLabel: it cannot be kept.
        UnknownPrediction: the prediction it names is not kept.
        IdempotencyConflict: the key came before with another correction.
        StoreUnavailable: nobody knows whether it was kept; with a key it may be sent again.
    """
    _check(correction, key, parts)
    received = now()
    answer = await _add(correction, key, parts)
    # One that was sent again is answered as at first, with the time of then.
    if answer.created_at >= received:
        parts.metrics.count("hone_corrections_total", kind=answer.kind)
    return answer


def _check(correction: CorrectionRequest, key: str | None, parts: Parts) -> None:
    if key is not None and not _KEY.fullmatch(key):
        raise MalformedBody("the Idempotency-Key header must be 1 to 200 visible ASCII characters", field="Idempotency-Key")
    if (correction.prediction_id is None) == (correction.text is None):
        got = "neither" if correction.text is None else "both"
        raise MalformedBody(f"got {got} of prediction_id and text; send exactly one of them", allowed=["prediction_id", "text"])
    if correction.text is not None:
        check_text(correction.text, "text", parts.settings)
    if correction.annotator is not None and "\0" in correction.annotator:
        raise MalformedBody("annotator holds a NUL character; remove it", field="annotator")
    check_metadata(correction.metadata)
    parts.slot.require().classifier.labels.index(correction.label)


async def _add(correction: CorrectionRequest, key: str | None, parts: Parts) -> CorrectionAnswer:
    try:
        return await parts.store.call(Store.add_correction, correction, idempotency_key=key)
    except UnknownPrediction:
        if parts.log is None or correction.prediction_id is None:
            raise
        await asyncio.to_thread(parts.log.flush, _ARRIVAL_S)
    await _wait_for(correction.prediction_id, parts)
    return await parts.store.call(Store.add_correction, correction, idempotency_key=key)


async def _wait_for(prediction_id: str, parts: Parts) -> None:
    """Return when the store has the prediction, or it is too late for it to be merely on its way."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _ARRIVAL_S
    while loop.time() < end:
        try:
            await parts.store.call(Store.prediction, prediction_id)
        except UnknownPrediction:
            await asyncio.sleep(_LOOK_EVERY_S)
        else:
            return
