"""The running service, as the command line speaks to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import httpx

from core.errors import HoneError, Unavailable
from core.settings import Settings

# To find out whether anything is there; loopback answers in microseconds.
_LOOK_TIMEOUT_S = 2.0


def _tree(root: type[HoneError]) -> Iterator[type[HoneError]]:
    yield root
    for branch in root.__subclasses__():
        yield from _tree(branch)


_BY_CODE = {kind.code: kind for kind in _tree(HoneError)}


class ServiceClient:
    """Speaks to the service of these settings; every error it answers with is raised as the error it names."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.url
        # The machine's proxy settings are not for its own loopback.
        self._http = httpx.Client(base_url=self.url, timeout=settings.request_timeout_s + 5, trust_env=False)
        if settings.api_key:
            self._http.headers["authorization"] = f"Bearer {settings.api_key}"

    def alive(self) -> bool:
        """Return whether a Hone service listens, ready or not."""
        return self._look("/healthz")

    def ready(self) -> bool:
        """Return whether it has a model to answer with."""
        return self._look("/readyz")

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """Return the body of an answer.

        Raises:
            HoneError: the one the service answered with.
            Unavailable: when it does not answer.
        """
        return self._send("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, object], *, idempotency_key: str | None = None) -> dict[str, Any]:
        """Send ``body`` as JSON and return the body of the answer; raises as :meth:`get` does."""
        headers = {"content-type": "application/json"} | ({"idempotency-key": idempotency_key} if idempotency_key else {})
        # Escaped to ASCII: a terminal can hand over half a surrogate pair, which the service is to refuse, not this client.
        return self._send("POST", path, content=json.dumps(dict(body)).encode(), headers=headers)

    def _look(self, path: str) -> bool:
        try:
            return self._http.get(path, timeout=_LOOK_TIMEOUT_S).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def _send(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise Unavailable(f"{self.url} does not answer ({type(error).__name__}); start it with hone up") from error
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Unavailable(f"{self.url}{path} answered {answer.status_code} without a JSON object: is it a Hone service?")
        if answer.is_error:
            raise error_of(body, answer.status_code)
        return cast("dict[str, Any]", body)


def error_of(body: Mapping[str, Any], status: int) -> HoneError:
    """Return the error that an error answer names, or the root of the tree where this release does not know its code."""
    kind = _BY_CODE.get(str(body.get("code")), HoneError)
    error = kind(str(body.get("error") or f"the service answered {status}"))
    details = body.get("details")
    error.details = dict(details) if isinstance(details, dict) else {}
    return error
