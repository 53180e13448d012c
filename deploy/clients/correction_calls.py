"""The requests of corrections beyond a single one, and of labels, as data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal, TypedDict
from uuid import uuid4

from pydantic import JsonValue

from core.correction_bodies import BulkAnswer
from core.label_bodies import LabelEvent, LabelEventsAnswer, LabelsAnswer, NewLabels
from core.schemas import CorrectionAnswer
from deploy.clients.calls import Call, CorrectionFields, given, quoted

NDJSON = "application/x-ndjson"
# A request of so many rows is short enough to be sent again as a whole, and long enough for its own cost not to count.
_ROWS_AT_ONCE = 2_000

ExportName = Literal["csv", "jsonl", "parquet"]
Decision = Literal["accept", "reject", "merge", "rename", "retire"]


class SaidFields(TypedDict, total=False):
    """Who says something, how sure they are, and what else is to be kept with it."""

    annotator: str | None
    confidence: float | None
    metadata: Mapping[str, JsonValue] | None


class ChangeFields(SaidFields, total=False):
    """And why something else was said before."""

    why: str | None


class RowFields(CorrectionFields, total=False):
    """One row of many: a correction's label and fields, and an idempotency key where it has one of its own."""

    label: str
    key: str | None


def row_parts(rows: Iterable[RowFields]) -> Iterator[tuple[int, list[RowFields]]]:
    """Yield ``rows`` in order, as many at a time as one request carries, each time with how many came before."""
    taken = iter(rows)
    before = 0
    while part := list(islice(taken, _ROWS_AT_ONCE)):
        yield before, part
        before += len(part)


def correct_part(rows: Iterable[RowFields], key: str, new_labels: NewLabels) -> Call[BulkAnswer]:
    """Return the call that sends rows; with its ``key`` it may be sent again."""
    lines = "".join(f"{json.dumps(given(row))}\n" for row in rows)
    headers = {"idempotency-key": key, "content-type": NDJSON}
    query = _labels(new_labels)
    return Call("POST", "/v1/corrections/bulk", BulkAnswer, query=query, headers=headers, content=lines.encode())


def numbered(answer: BulkAnswer, before: int) -> BulkAnswer:
    """Return the answer with rows counted from the first request on."""
    reports = [report.model_copy(update={"row": report.row + before}) for report in answer.reports]
    return answer.model_copy(update={"reports": reports})


def confirm(prediction_id: str, said: Mapping[str, Any], key: str | None) -> Call[CorrectionAnswer]:
    """Return the call that confirms a prediction."""
    body = {"prediction_id": prediction_id, **given(said)}
    return Call("POST", "/v1/confirmations", CorrectionAnswer, body=body, headers=_key(key))


def correction(correction_id: str) -> Call[CorrectionAnswer]:
    """Return the call that shows a correction."""
    return Call("GET", f"/v1/corrections/{quoted(correction_id)}", CorrectionAnswer)


def withdraw_correction(correction_id: str, said: Mapping[str, Any]) -> Call[CorrectionAnswer]:
    """Return the call that takes a correction back; done twice it is as done once."""
    return Call("POST", f"/v1/corrections/{quoted(correction_id)}/withdraw", CorrectionAnswer, body=given(said))


def change_correction(
    correction_id: str, said: Mapping[str, Any], key: str | None, new_labels: NewLabels
) -> Call[CorrectionAnswer]:
    """Return the call that says something else of the same text."""
    path = f"/v1/corrections/{quoted(correction_id)}/change"
    return Call("POST", path, CorrectionAnswer, query=_labels(new_labels), body=given(said), headers=_key(key))


def labels() -> Call[LabelsAnswer]:
    """Return the call that lists labels."""
    return Call("GET", "/v1/labels", LabelsAnswer)


def label_events(limit: int, before: int | None) -> Call[LabelEventsAnswer]:
    """Return the call that lists decisions about labels."""
    query = {"limit": limit} if before is None else {"limit": limit, "before": before}
    return Call("GET", "/v1/labels/events", LabelEventsAnswer, query=query)


def decide_label(said: Mapping[str, Any]) -> Call[LabelEvent]:
    """Return the call that decides about a label; done twice it is as done once."""
    return Call("POST", "/v1/labels/events", LabelEvent, body=given(said))


def _key(key: str | None) -> dict[str, str]:
    return {"idempotency-key": key or f"python-{uuid4().hex}"}


def _labels(new_labels: NewLabels) -> dict[str, str | int]:
    return {} if new_labels == "refuse" else {"new_labels": new_labels}
