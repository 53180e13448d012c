"""Whose text a request brings: a field of the native bodies, or a header, which every format can send."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar

from core.errors import InvalidHeader
from core.schemas import CorrectionRequest

HEADER = "X-Hone-Subject"
_NAME = HEADER.lower().encode()
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?")

SUBJECT: ContextVar[str | None] = ContextVar("subject", default=None)
"""The key that the present request's header names, None where it names none."""


def requested_subject(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the key of the header, None where there is no such header.

    Raises:
        InvalidHeader: it is not 1 to 200 visible ASCII characters.
    """
    for name, value in headers:
        if name == _NAME:
            found = value.decode("latin-1").strip()
            if not _KEY.fullmatch(found):
                raise InvalidHeader(f"{HEADER} must be 1 to 200 visible ASCII characters", header=HEADER)
            return found
    return None


def with_subject(correction: CorrectionRequest) -> CorrectionRequest:
    """Return the correction with the subject of the present request's header, where it names none itself."""
    subject = SUBJECT.get()
    if correction.subject is not None or subject is None:
        return correction
    return correction.model_copy(update={"subject": subject})
