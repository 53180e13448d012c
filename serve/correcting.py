"""Taking a correction in, whichever format it came in: checked, durable before it is acknowledged, counted once."""

from __future__ import annotations

import asyncio
import contextlib
import re
from datetime import datetime
from typing import Annotated

from fastapi import Query

from core.correction_bodies import ChangeRequest, ConfirmationRequest
from core.errors import MalformedBody, StoreUnavailable, UnknownPrediction
from core.label_bodies import NewLabels
from core.schemas import CorrectionAnswer, CorrectionRequest, now
from feedback.labels import Backing
from feedback.store import Store
from serve.correction_checks import check_correction, check_words
from serve.parts import Parts
from serve.subject import with_subject

# How long a prediction may be on its way from another replica's queue to the store before its id counts as unknown.
_ARRIVAL_S = 1.0
_LOOK_EVERY_S = 0.1
NewLabelsQuery = Annotated[
    NewLabels,
    Query(description="What becomes of a label outside the set: `refuse` (422, with the nearest known ones) or `propose`."),
]

_KEY = re.compile(r"[\x21-\x7e]{1,200}")


async def accept(
    correction: CorrectionRequest, key: str | None, parts: Parts, new_labels: NewLabels = "refuse"
) -> CorrectionAnswer:
    """Return the correction as it stands in the store; sent again with the same ``key`` it is answered as at first.

    Raises:
        MalformedBody, InvalidText, UnknownLabel: it cannot be kept.
        UnknownPrediction: the prediction it names is not kept.
        IdempotencyConflict: the key came before with another correction.
        StoreUnavailable: nobody knows whether it was kept; with a key it may be sent again.
    """
    check_key(key)
    correction = with_subject(correction)
    check_correction(correction, parts.settings)
    proposes = await parts.labels.check(correction.label, propose=new_labels == "propose")
    received = now()
    answer = await _add(correction, key, parts, proposes=proposes)
    if proposes:
        await accept_backed(parts)
    count_kept(answer, received, parts)
    # Whoever has the answer may ask again at once.
    await parts.memory.catch_up()
    return answer


async def change(
    correction_id: str, request: ChangeRequest, key: str | None, parts: Parts, new_labels: NewLabels = "refuse"
) -> CorrectionAnswer:
    """Return the correction that stands in the place of the one that is named, from now on.

    Raises:
        MalformedBody, UnknownLabel: it cannot be kept.
        NotFound: none has this id.
        Conflict: it was withdrawn or changed already, or the key came before with another change.
        StoreUnavailable: nobody knows whether it was changed; with a key it may be sent again.
    """
    check_key(key)
    check_words(request.annotator, request.metadata)
    proposes = await parts.labels.check(request.label, propose=new_labels == "propose")
    received = now()
    answer = await parts.store.call(Store.change_correction, correction_id, request, idempotency_key=key, proposes=proposes)
    if proposes:
        await accept_backed(parts)
    count_kept(answer, received, parts)
    await parts.memory.catch_up()
    return answer


async def confirm(request: ConfirmationRequest, key: str | None, parts: Parts) -> CorrectionAnswer:
    """Return the confirmation of a prediction: a correction to the label it had.

    Raises:
        UnknownPrediction: it is not kept.
        UnknownLabel: its label was retired.
        MalformedBody, IdempotencyConflict, StoreUnavailable: as in :func:`accept`.
    """
    check_key(key)
    check_words(request.annotator, request.metadata, request.prediction_id)
    try:
        prediction = await parts.store.call(Store.prediction, request.prediction_id)
    except UnknownPrediction:
        await wait_for(request.prediction_id, parts)
        prediction = await parts.store.call(Store.prediction, request.prediction_id)
    return await accept(CorrectionRequest(label=prediction.label, **request.model_dump()), key, parts)


async def accept_backed(parts: Parts) -> None:
    """Take proposals that have enough behind them by now into the label set."""
    backing = Backing(parts.settings.label_min_texts, parts.settings.label_min_annotators)
    # What was proposed is kept already: where the store goes away just now, the next run counts once more.
    with contextlib.suppress(StoreUnavailable):
        await parts.store.call(Store.accept_backed_labels, backing)


def check_key(key: str | None) -> None:
    """Raise MalformedBody unless ``key`` may be an idempotency key."""
    if key is not None and not _KEY.fullmatch(key):
        raise MalformedBody("the Idempotency-Key header must be 1 to 200 visible ASCII characters", field="Idempotency-Key")


def count_kept(answer: CorrectionAnswer, received: datetime, parts: Parts) -> None:
    """Count a correction, unless it was kept before it was received: one that was sent again has the time of then."""
    if answer.created_at >= received:
        parts.metrics.count("hone_corrections_total", kind=answer.kind)


async def wait_for(prediction_id: str, parts: Parts) -> None:
    """Return when the store has the prediction, or it is too late for it to be merely on its way."""
    if parts.log is None:
        return
    await asyncio.to_thread(parts.log.flush, _ARRIVAL_S)
    loop = asyncio.get_running_loop()
    end = loop.time() + _ARRIVAL_S
    while loop.time() < end:
        try:
            await parts.store.call(Store.prediction, prediction_id)
        except UnknownPrediction:
            await asyncio.sleep(_LOOK_EVERY_S)
        else:
            return


async def _add(correction: CorrectionRequest, key: str | None, parts: Parts, *, proposes: bool) -> CorrectionAnswer:
    try:
        return await parts.store.call(Store.add_correction, correction, idempotency_key=key, proposes=proposes)
    except UnknownPrediction:
        if parts.log is None or correction.prediction_id is None:
            raise
    await wait_for(correction.prediction_id, parts)
    return await parts.store.call(Store.add_correction, correction, idempotency_key=key, proposes=proposes)
