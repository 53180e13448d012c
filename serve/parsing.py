"""From bytes to a checked request: everything a caller can get wrong ends here, as one of Hone's errors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from core.errors import BodyTooLarge, InvalidText, MalformedBody, TooManyTexts, UnsupportedMediaType
from core.settings import Settings
from serve.complaints import malformed_body

METADATA_MAX_BYTES = 4_096

_HEADERS = frozenset({b"content-type", b"content-encoding", b"content-length"})
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})
_SURROGATE = re.compile("[\ud800-\udfff]")
# The first character that is neither white space nor invisible; a text without one says nothing.
_VISIBLE = re.compile("[^\\s\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")

Body = TypeVar("Body", bound=BaseModel)


async def read_json(scope: Scope, receive: Receive, model: type[Body], settings: Settings) -> Body:
    """Return the request's body as ``model``.

    Raises:
        UnsupportedMediaType: it is not declared as plain JSON.
        BodyTooLarge: it has more bytes than the limit; no more than those are read.
        MalformedBody: it is not JSON, or not the fields of ``model``.
    """
    check_headers(scope["headers"], settings.max_body_bytes)
    body = await read_body(receive, settings.max_body_bytes)
    # A slow caller's time is not counted as ours.
    scope["hone.started"] = perf_counter()
    return parse_json(body, model)


def check_headers(
    headers: Iterable[tuple[bytes, bytes]], max_bytes: int, allowed: Sequence[str] = ("application/json",)
) -> None:
    """Raise for a body that need not be read at all: not of an ``allowed`` media type, or too large by its own account.

    A missing content type is the media type ``""``. It is refused where nothing else is said: a foreign web page can send
    such a request, but not one that says JSON.
    """
    found = {name: value.decode("latin-1").lower() for name, value in headers if name in _HEADERS}
    media_type, *parameters = [part.strip() for part in found.get(b"content-type", "").split(";")]
    if media_type not in allowed:
        named = [name for name in allowed if name]
        raise UnsupportedMediaType(f"the Content-Type must be {' or '.join(named)}", allowed=named)
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip('"') not in _CHARSETS:
            raise UnsupportedMediaType("the charset must be utf-8", allowed=["utf-8"])
    if found.get(b"content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("the body must not be compressed", allowed=["identity"])
    declared = found.get(b"content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > max_bytes):
        raise _too_large(max_bytes)


async def read_body(receive: Receive, max_bytes: int) -> bytes:
    """Return the body, refusing it as soon as it has more than ``max_bytes``."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body", False):
            return part if not parts else b"".join([*parts, part])
        parts.append(part)


def parse_json(body: bytes, model: type[Body]) -> Body:
    """Return ``body`` as ``model``; an empty one counts as ``{}``, so that what lacks is named."""
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        # Not chained: pydantic's message quotes the input.
        raise malformed_body(error, list(model.model_fields)) from None


def check_texts(texts: Sequence[str], settings: Settings, field: str = "texts") -> None:
    """Raise ``TooManyTexts`` or ``InvalidText`` unless all of ``texts``, which came as ``field``, can be answered."""
    if not texts:
        raise InvalidText(f"{field} is empty; send at least one text", allowed_min=1)
    if len(texts) > settings.max_texts:
        raise TooManyTexts(
            f"got {len(texts)} texts, at most {settings.max_texts} may come in one request",
            got=len(texts),
            allowed=settings.max_texts,
        )
    for place, text in enumerate(texts):
        check_text(text, f"{field}[{place}]", settings)


def check_text(text: str, field: str, settings: Settings) -> None:
    """Raise ``InvalidText`` unless ``text`` can be answered; ``field`` names it in the message."""
    if len(text) > settings.max_text_chars:
        raise InvalidText(
            f"{field} has {len(text)} characters, at most {settings.max_text_chars} are allowed",
            field=field,
            got=len(text),
            allowed=settings.max_text_chars,
        )
    if not _VISIBLE.search(text):
        what = "blank" if text else "empty"
        raise InvalidText(f"{field} is {what}; it must hold at least one visible character", field=field)
    place = text.find("\0")
    if place >= 0:
        raise InvalidText(f"{field} holds a NUL character, at position {place}; remove it", field=field, position=place)
    if not text.isascii() and (found := _SURROGATE.search(text)):
        raise InvalidText(
            f"{field} holds half of a surrogate pair, at position {found.start()}; send well-formed Unicode",
            field=field,
            position=found.start(),
        )


def check_metadata(metadata: Mapping[str, Any] | None) -> None:
    """Raise ``MalformedBody`` unless every store can keep ``metadata``."""
    if metadata is None:
        return
    if len(to_json(metadata)) > METADATA_MAX_BYTES:
        raise MalformedBody(
            f"metadata takes more than the {METADATA_MAX_BYTES} bytes allowed", field="metadata", allowed=METADATA_MAX_BYTES
        )
    waiting: list[Any] = [metadata]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and "\0" in value:
            raise MalformedBody("metadata holds a NUL character; remove it", field="metadata")
        elif isinstance(value, float) and not math.isfinite(value):
            raise MalformedBody("metadata holds a number that is not finite; JSON has none", field="metadata")


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body has more than the {max_bytes} bytes allowed", allowed=max_bytes)
