"""From an HTTP answer to a typed one, or to the error it names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from core.errors import HoneError, Unavailable
from serve.openapi import NDJSON

Answer = TypeVar("Answer", bound=BaseModel)


def _tree(root: type[HoneError]) -> Iterator[type[HoneError]]:
    yield root
    for branch in root.__subclasses__():
        yield from _tree(branch)


_BY_CODE = {kind.code: kind for kind in _tree(HoneError)}


def read(response: httpx.Response, model: type[Answer]) -> Answer:
    """Return the body as ``model``; fields that a newer service adds are left out.

    Raises:
        HoneError: the one the service answered with.
        Unavailable: the answer is not one of a Hone service.
    """
    body = _object(response)
    if response.is_error:
        raise error_of(body, response.status_code)
    try:
        return model.model_validate(body, extra="ignore")
    except ValidationError as error:
        raise Unavailable(
            f"{response.url} answered with {error.error_count()} fields this release does not understand; is it of another one?"
        ) from None


def error_of(body: Mapping[str, Any], status: int) -> HoneError:
    """Return the error that an error answer names, or the root of the tree where this release does not know its code."""
    kind = _BY_CODE.get(str(body.get("code")), HoneError)
    error = kind(str(body.get("error") or f"the service answered {status}"))
    details = body.get("details")
    error.details = dict(details) if isinstance(details, dict) else {}
    return error


def conclude(outcome: httpx.Response | httpx.HTTPError, model: type[Answer], url: str) -> Answer:
    """Return what :func:`read` makes of an answer.

    Raises:
        Unavailable: none came.
    """
    if isinstance(outcome, httpx.HTTPError):
        raise Unavailable(f"{url} does not answer ({type(outcome).__name__}); start it with hone up") from outcome
    return read(outcome, model)


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = _lines(response.content) if response.headers.get("content-type") == NDJSON else response.json()
    except (ValueError, IndexError):
        body = None
    if not isinstance(body, dict):
        raise Unavailable(f"{response.url} answered {response.status_code} without a JSON object: is it a Hone service?")
    return body


def _lines(content: bytes) -> dict[str, Any]:
    """Return the lines of a bulk answer as fields of ``BulkAnswer``."""
    *reports, summary = [json.loads(line) for line in content.splitlines()]
    return {"reports": reports, "summary": summary}
