"""Errors as HTTP: the one place where Hone's error tree meets status codes and headers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from filelock import Timeout as LockTimeout
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from core import errors
from core.errors import HoneError
from serve.complaints import malformed

STATUSES: Mapping[type[HoneError], int] = {
    errors.InputError: 422,
    errors.MalformedBody: 400,
    errors.InvalidHeader: 400,
    errors.UnsupportedMediaType: 415,
    errors.BodyTooLarge: 413,
    errors.HeadersTooLarge: 431,
    errors.BodyTooSlow: 408,
    errors.Unauthenticated: 401,
    errors.RoleMissing: 403,
    errors.ForeignHost: 421,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.BundleError: 409,
    errors.TrailBroken: 409,
    errors.LeaseHeld: 409,
    errors.Unavailable: 503,
    errors.Overloaded: 429,
    errors.DeadlineExceeded: 504,
    HoneError: 500,
}
"""Status of each class of error; a class that is not listed has its parent's."""

_TEI_ERRORS: Mapping[type[HoneError], tuple[int, str]] = {
    errors.InputError: (422, "Validation"),
    errors.UnsupportedMediaType: (415, "Validation"),
    errors.BodyTooLarge: (413, "Validation"),
    errors.HeadersTooLarge: (431, "Validation"),
    errors.BodyTooSlow: (408, "Validation"),
    errors.Unauthenticated: (401, "Unauthorized"),
    errors.RoleMissing: (403, "Unauthorized"),
    errors.NotFound: (404, "Validation"),
    errors.Unavailable: (503, "Unhealthy"),
    errors.Overloaded: (429, "Overloaded"),
    errors.DeadlineExceeded: (504, "Overloaded"),
    HoneError: (424, "Backend"),
}
"""Status and ``error_type`` of each class where a client of text-embeddings-inference asks."""

TEI_PATHS = frozenset({"/predict", "/info", "/health"})

_RETRY_AFTER_S = {429: "1", 503: "2"}
# Basic is understood as well, and not named: a browser would open a dialog of its own over the console's.
_CHALLENGES = {401: 'Bearer realm="hone"', 403: 'Bearer realm="hone", error="insufficient_scope"'}

_Entry = TypeVar("_Entry")

_logger = logging.getLogger("hone.serve")


def status_of(error: HoneError, path: str = "") -> int:
    """Return the HTTP status of an error that is answered on ``path``.

    >>> status_of(errors.UnknownLabel("…")), status_of(errors.Overloaded("…")), status_of(HoneError("…"), "/predict")
    (422, 429, 424)
    """
    if isinstance(error, errors.UnknownRoute) and "allowed" in error.details:
        return 405
    return _tei(error)[0] if path in TEI_PATHS else _nearest(STATUSES, error)


def error_response(error: HoneError, request_id: str, path: str = "") -> Response:
    """Return ``error`` in the one shape of every error, with the headers its status calls for.

    On the paths of text-embeddings-inference an ``error_type`` is added, by which its clients tell errors apart. The sentence
    stands under ``error`` because the clients of all formats show that key.
    """
    status = status_of(error, path)
    details: dict[str, Any] = error.details
    # An ErrorAnswer, written so that not even details of a type JSON lacks can keep an error from being told.
    fields = {"error": error.message, "code": error.code, "details": details, "request_id": request_id}
    if path in TEI_PATHS:
        fields["error_type"] = _tei(error)[1]
    body = to_json(fields, fallback=str)
    headers = {}
    if status in _RETRY_AFTER_S:
        headers["retry-after"] = _RETRY_AFTER_S[status]
    if status in _CHALLENGES:
        headers["www-authenticate"] = _CHALLENGES[status]
    if status == 405:
        headers["allow"] = ", ".join(details["allowed"])
    if status == 413:
        # What is left of the body was not read, so the connection cannot carry another request.
        headers["connection"] = "close"
    return Response(body, status, headers, "application/json")


def answer_error(error: Exception, scope: Scope) -> Response:
    """Return the answer to ``error``, whatever it is, and leave its code in ``scope`` for the count of refusals."""
    request_id = scope["hone.request_id"]
    known = translated(error, request_id)
    scope["hone.code"] = known.code
    return error_response(known, request_id, scope["path"])


def translated(error: Exception, request_id: str) -> HoneError:
    """Return any exception as one of Hone's errors; what nobody foresaw is logged and told without its cause."""
    if isinstance(error, HoneError):
        return error
    if isinstance(error, HTTPException):
        return _routing_error(error)
    if isinstance(error, RequestValidationError):
        # The first part of a location says path or query, which the names say well enough.
        return malformed([{**item, "loc": tuple(item["loc"])[1:]} for item in error.errors()], ())
    if isinstance(error, LockTimeout):
        return errors.Unavailable("the registry is being changed by another process; try again")
    _logger.error("unexpected error", exc_info=error, extra={"request_id": request_id})
    return HoneError("Hone failed on this request and has logged why under its request_id; the request may be sent again")


def _nearest(table: Mapping[type[HoneError], _Entry], error: HoneError) -> _Entry:
    return next(table[kind] for kind in type(error).__mro__ if kind in table)


def _tei(error: HoneError) -> tuple[int, str]:
    if isinstance(error, errors.InvalidText) and error.details.get("empty"):
        return 400, "Empty"
    return _nearest(_TEI_ERRORS, error)


def _routing_error(error: HTTPException) -> HoneError:
    if error.status_code == 405:
        allowed = sorted({part.strip() for part in (error.headers or {}).get("Allow", "").split(",") if part.strip()})
        return errors.UnknownRoute(f"this path does not take this method; it takes {', '.join(allowed)}", allowed=allowed)
    if error.status_code == 404:
        return errors.UnknownRoute("no route has this path; GET /openapi.json lists them all")
    return errors.MalformedBody("the request cannot be read")
