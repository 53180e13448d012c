"""Every request a client makes, as data: what is sent, what the answer is, and whether it may be sent twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote
from uuid import uuid4

from pydantic import BaseModel, JsonValue

from core.errors import BodyTooLarge, HoneError, TooManyTexts, TooManyTokens
from core.label_bodies import NewLabels
from core.schemas import (
    CorrectionAnswer,
    CorrectionsAnswer,
    LongText,
    PredictionAnswer,
    PredictionsAnswer,
    RunAnswer,
    RunsAnswer,
    ScoreFunction,
    Truncation,
)
from deploy.clients.retrying import Safety
from serve.answers import AliasesAnswer, ApprovalAnswer, ModelAnswer, ModelsAnswer, StatusAnswer
from serve.gate_report import GateReport
from serve.model_card import ModelCard

Answer = TypeVar("Answer", bound=BaseModel)

_BODY_SPARE_BYTES = 5_000


class PredictOptions(TypedDict, total=False):
    """Options of a prediction; ``core.schemas.PredictRequest`` says what each does."""

    top_k: int | None
    function_to_apply: ScoreFunction
    truncation: Truncation
    long_text: LongText
    min_score: float | None
    explain: bool
    metadata: Mapping[str, JsonValue] | None


class CorrectionFields(TypedDict, total=False):
    """What a correction says beside its label: exactly one of ``prediction_id`` and ``text``, and more if known."""

    prediction_id: str | None
    text: str | None
    annotator: str | None
    confidence: float | None
    metadata: Mapping[str, JsonValue] | None


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request; ``gives`` is what its answer is read as."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    gives: type[Answer]
    safety: Safety = "idempotent"
    query: Mapping[str, str | int] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    # A body that is no JSON object, with its media type among the headers.
    content: bytes | None = None

    def http_options(self) -> dict[str, Any]:
        """Return the request as ``httpx`` takes it."""
        options: dict[str, Any] = {"params": dict(self.query), "headers": dict(self.headers)}
        if self.content is not None:
            options["content"] = self.content
        if self.body is not None:
            # Escaped to ASCII: a terminal can hand over half a surrogate pair, which the service is to refuse, not this client.
            options["content"] = json.dumps(self.body).encode()
            options["headers"]["content-type"] = "application/json"
        return options


def predict_one(text: str, options: PredictOptions) -> Call[PredictionAnswer]:
    """Return the call that answers one text."""
    return Call("POST", "/v1/predict", PredictionAnswer, body={"text": text, **given(options)})


def predict_part(texts: Sequence[str], options: PredictOptions) -> Call[PredictionsAnswer]:
    """Return the call that answers as many texts as one request may carry."""
    return Call("POST", "/v1/predict", PredictionsAnswer, body={"texts": list(texts), **given(options)})


def in_requests(texts: Sequence[str], *, max_texts: int, max_bytes: int) -> Iterator[list[str]]:
    """Yield the texts in order, in parts that one request may carry.

    >>> [len(part) for part in in_requests(["a"] * 5, max_texts=2, max_bytes=100_000)]
    [2, 2, 1]
    """
    part: list[str] = []
    size = 0
    for text in texts:
        # As JSON a character takes up to twelve bytes; quotes, comma and the rest of the body are a few more.
        cost = len(json.dumps(text)) + 4
        if part and (len(part) == max_texts or size + cost > max_bytes - _BODY_SPARE_BYTES):
            yield part
            part, size = [], 0
        part.append(text)
        size += cost
    if part:
        yield part


def smaller_parts(part: Sequence[str], error: HoneError) -> list[list[str]]:
    """Return ``part`` in parts that a service with lower limits takes; empty where ``error`` is about something else.

    >>> smaller_parts(["a", "b", "c"], TooManyTexts("…", allowed=2))
    [['a', 'b'], ['c']]
    """
    if len(part) < 2 or not isinstance(error, TooManyTexts | BodyTooLarge | TooManyTokens):
        return []
    allowed = error.details.get("allowed")
    half = len(part) // 2
    size = allowed if isinstance(error, TooManyTexts) and type(allowed) is int and 0 < allowed < len(part) else half
    return [list(part[start : start + size]) for start in range(0, len(part), size)]


def correct(label: str, said: CorrectionFields, key: str | None, new_labels: NewLabels) -> Call[CorrectionAnswer]:
    """Return the call that corrects; without a ``key`` it gets one of its own, so that it may be sent again."""
    headers = {"idempotency-key": key or f"python-{uuid4().hex}"}
    query = {} if new_labels == "refuse" else {"new_labels": new_labels}
    return Call("POST", "/v1/corrections", CorrectionAnswer, query=query, body={"label": label, **given(said)}, headers=headers)


def corrections(limit: int, before: str | None) -> Call[CorrectionsAnswer]:
    """Return the call that lists corrections."""
    query: dict[str, str | int] = {"limit": limit} | ({"before": before} if before else {})
    return Call("GET", "/v1/corrections", CorrectionsAnswer, query=query)


def models() -> Call[ModelsAnswer]:
    """Return the call that lists versions."""
    return Call("GET", "/v1/models", ModelsAnswer)


def model(version: str) -> Call[ModelAnswer]:
    """Return the call that shows a version."""
    return Call("GET", f"/v1/models/{quoted(version)}", ModelAnswer)


def card(version: str) -> Call[ModelCard]:
    """Return the call that shows a version's card."""
    return Call("GET", f"/v1/models/{quoted(version)}/card", ModelCard)


def gate(version: str) -> Call[GateReport]:
    """Return the call that shows what the gate decided on a version."""
    return Call("GET", f"/v1/models/{quoted(version)}/gate", GateReport)


def promote(version: str, said: Mapping[str, Any]) -> Call[AliasesAnswer]:
    """Return the call that makes a version champion; done twice it is as done once."""
    return Call("POST", f"/v1/models/{quoted(version)}/promote", AliasesAnswer, body=said)


def sign(version: str, said: Mapping[str, Any]) -> Call[ApprovalAnswer]:
    """Return the call that signs for a version; a second signature would stand beside the first, so it is sent once."""
    return Call("POST", f"/v1/models/{quoted(version)}/approve", ApprovalAnswer, "once", body=given(said))


def roll_back(said: Mapping[str, Any]) -> Call[AliasesAnswer]:
    """Return the call that goes back to the previous champion; done twice it goes forth again, so it is sent once."""
    return Call("POST", "/v1/rollback", AliasesAnswer, "once", body=said)


def challenge(version: str, said: Mapping[str, Any]) -> Call[AliasesAnswer]:
    """Return the call that makes a version the challenger; done twice it is as done once."""
    return Call("POST", f"/v1/models/{quoted(version)}/challenge", AliasesAnswer, body=said)


def withdraw(said: Mapping[str, Any]) -> Call[AliasesAnswer]:
    """Return the call after which there is no challenger; done twice it is as done once."""
    return Call("POST", "/v1/withdraw", AliasesAnswer, body=said)


def start_run(said: Mapping[str, Any]) -> Call[RunAnswer]:
    """Return the call that queues a run."""
    return Call("POST", "/v1/runs", RunAnswer, "once", body=given(said))


def continue_run(run_id: str, manner: Literal["resume", "repeat"], note: str | None) -> Call[RunAnswer]:
    """Return the call that queues a run that resumes or repeats another."""
    return Call("POST", "/v1/runs", RunAnswer, "once", body={manner: run_id} | ({"note": note} if note else {}))


def run(run_id: str) -> Call[RunAnswer]:
    """Return the call that shows a run."""
    return Call("GET", f"/v1/runs/{quoted(run_id)}", RunAnswer)


def runs(limit: int) -> Call[RunsAnswer]:
    """Return the call that lists runs."""
    return Call("GET", "/v1/runs", RunsAnswer, query={"limit": limit})


def stop_run(run_id: str) -> Call[RunAnswer]:
    """Return the call that stops a run; of one that has ended by then it is an error, so it is sent once."""
    return Call("DELETE", f"/v1/runs/{quoted(run_id)}", RunAnswer, "once")


def status() -> Call[StatusAnswer]:
    """Return the call that asks how the service fares."""
    return Call("GET", "/v1/status", StatusAnswer)


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that say something."""
    return {name: value for name, value in fields.items() if value is not None}


def quoted(name: str) -> str:
    """Return ``name`` as one part of a path."""
    return quote(name, safe="")
