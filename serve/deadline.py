"""Until when the present request's answer is wanted; whoever works for it asks here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from contextvars import ContextVar

from core.errors import InvalidHeader

HEADER = b"x-request-timeout"

# In seconds of time.monotonic(). A context variable, because work for a request is done in its own task from the edge to the
# batcher, and every format of request between them would have to hand it on.
DEADLINE: ContextVar[float] = ContextVar("hone_deadline", default=math.inf)

_SECONDS = re.compile(rb"[0-9]{1,6}(\.[0-9]{1,6})?")


def requested_timeout_s(headers: Iterable[tuple[bytes, bytes]], most_s: float) -> float:
    """Return how many seconds the caller gives its request, ``most_s`` at most and where it says nothing.

    Raises:
        InvalidHeader: when ``X-Request-Timeout`` is not a number of seconds above 0.

    >>> requested_timeout_s([(b"x-request-timeout", b"0.25")], 30.0), requested_timeout_s([], 30.0)
    (0.25, 30.0)
    """
    for name, value in headers:
        if name == HEADER:
            if not _SECONDS.fullmatch(value) or not float(value) > 0:
                raise InvalidHeader(
                    "X-Request-Timeout must be seconds above 0, such as 2 or 0.25", header="X-Request-Timeout", allowed_above=0
                )
            return min(float(value), most_s)
    return most_s
