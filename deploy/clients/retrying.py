"""When a request is sent again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import httpx

Safety = Literal["idempotent", "once"]

# Refused before anything was done, or not able to say; the second may have been done.
_REFUSED = httpx.codes.TOO_MANY_REQUESTS
_UNAVAILABLE = httpx.codes.SERVICE_UNAVAILABLE
# Raised before a byte of the request went out.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True)
class Retries:
    """How patient a client is: ``attempts`` in all, with pauses that double from ``first_pause_s`` to ``longest_pause_s``.

    A pause is drawn from between half of that and all of it, so that clients refused together do not return together; see
    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/. The service's ``Retry-After`` is
    honoured: no pause is shorter, and where it is longer than ``longest_pause_s`` the client gives up at once.
    """

    attempts: int = 5
    first_pause_s: float = 0.25
    longest_pause_s: float = 10.0

    def pause_s(self, attempt: int, retry_after_s: float | None = None) -> float | None:
        """Return how long to wait after ``attempt`` (1 for the first) has failed, None to give up."""
        if attempt >= self.attempts or (retry_after_s or 0.0) > self.longest_pause_s:
            return None
        longest = min(self.first_pause_s * 2.0 ** min(attempt - 1, 32), self.longest_pause_s)
        jittered = random.uniform(longest / 2, longest)  # noqa: S311 - nothing secret depends on it
        return max(jittered, retry_after_s + jittered - longest / 2) if retry_after_s else jittered


def worth_repeating(outcome: httpx.Response | httpx.HTTPError, safety: Safety) -> bool:
    """Return whether sending the request again may succeed without doing anything twice."""
    if isinstance(outcome, httpx.Response):
        return outcome.status_code == _REFUSED or (outcome.status_code == _UNAVAILABLE and safety == "idempotent")
    return isinstance(outcome, _NEVER_SENT) or (isinstance(outcome, httpx.TransportError) and safety == "idempotent")


def retry_after_s(outcome: httpx.Response | httpx.HTTPError) -> float | None:
    """Return the seconds its ``Retry-After`` header asks for, given in either of its two forms; None where there is none."""
    text = outcome.headers.get("retry-after", "") if isinstance(outcome, httpx.Response) else ""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
