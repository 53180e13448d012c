"""Handing review items out and taking answers in; an answer is a correction or a confirmation like any other."""

from __future__ import annotations

from core.errors import MalformedBody
from core.quality_bodies import ReviewAnswer, ReviewedAnswer, ReviewRequest, Stratum
from core.schemas import CorrectionRequest
from core.settings import Settings
from feedback.store import Store
from serve.correcting import accept
from serve.parts import Parts


def shares_of(settings: Settings) -> dict[Stratum, float]:
    """Return the shares of the review queue; what is left of one goes to uncertain predictions.

    >>> from pathlib import Path
    >>> shares_of(Settings(HONE_HOME=Path("/srv"), review_audit_ratio=0.8, review_suspect_ratio=0.5))
    {'audit': 0.8, 'suspect': 0.5, 'uncertain': 0.0}
    """
    audit, suspect = settings.review_audit_ratio, settings.review_suspect_ratio
    return {"audit": audit, "suspect": suspect, "uncertain": max(0.0, 1.0 - audit - suspect)}


async def hand_out(annotator: str, limit: int, parts: Parts) -> ReviewAnswer:
    """Return up to ``limit`` items that ``annotator`` holds from now on.

    Raises:
        MalformedBody: the name holds a character the store cannot keep.
        StoreUnavailable: the store does not answer.
    """
    _check_name(annotator)
    settings = parts.settings
    return await parts.store.call(Store.next_review, annotator, limit, shares_of(settings), settings.review_lease_s)


async def answer_item(item_id: str, request: ReviewRequest, parts: Parts) -> ReviewedAnswer:
    """Return what became of the item.

    Raises:
        MalformedBody, UnknownLabel: the answer cannot be kept.
        NotFound: there is no such item.
        Conflict: somebody else holds it, or has answered it.
        StoreUnavailable: the store does not answer; sending it again is safe.
    """
    _check_name(request.annotator)
    if (request.label is None) == (request.action == "label"):
        raise MalformedBody("label is sent with the action label, and with no other", field="label", allowed=["label"])
    store, annotator = parts.store, request.annotator
    if request.action == "skip":
        await store.call(Store.skip_review, item_id, annotator)
        return ReviewedAnswer(item_id=item_id, state="open", correction=None)
    if request.action == "undo":
        key = await store.call(Store.undo_review, item_id, annotator)
        if key is not None:
            await store.call(Store.withdraw_corrections, key)
            await parts.memory.catch_up()
        return ReviewedAnswer(item_id=item_id, state="open", correction=None)
    task = await store.call(Store.review_task, item_id, annotator)
    said = {"label": request.label, "annotator": annotator, "confidence": request.confidence}
    about = {"prediction_id": task.prediction_id} if task.prediction_id is not None else {"text": task.text}
    correction = await accept(CorrectionRequest.model_validate({**said, **about}), task.key, parts)
    await store.call(Store.finish_review, item_id, annotator, correction.label)
    return ReviewedAnswer(item_id=item_id, state="done", correction=correction)


def _check_name(annotator: str) -> None:
    if "\0" in annotator:
        raise MalformedBody("annotator holds a NUL character; remove it", field="annotator")
