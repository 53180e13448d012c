"""The outermost layer: a request's id, deadline, measurement, and the promise that every error has one shape."""

from __future__ import annotations

import asyncio
import logging
import re
from time import monotonic, perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import DeadlineExceeded
from core.metrics import Metrics
from core.random_ids import random_hex
from serve.deadline import DEADLINE, requested_timeout_s
from serve.statuses import answer_error
from serve.streams import STREAMED_PATHS
from serve.subject import SUBJECT, requested_subject
from serve.telling import RequestTeller

_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_CLIENT_LEFT = 499

_logger = logging.getLogger("hone.serve")


class Edge:
    """Wraps ``app``; a request has ``timeout_s``, or less where its ``X-Request-Timeout`` says so; one that streams
    ``stream_timeout_s``.

    ``proxied`` says that a proxy in front repeats the request's own ``x-request-id`` in the answer, as Ray Serve's does; then
    it is added here only where it differs. ``teller`` tells of requests elsewhere, where that is switched on.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        teller: RequestTeller | None = None,
        *,
        timeout_s: float,
        stream_timeout_s: float,
        proxied: bool,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._answered = metrics.meter([("hone_requests_total", {}), ("hone_request_seconds", {})], ("route", "status"))
        self._teller = teller
        self._timeout_s = timeout_s
        self._stream_timeout_s = stream_timeout_s
        self._proxied = proxied

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong inside becomes an answer too."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, proxied=self._proxied)
        told = self._teller.begin(scope) if self._teller is not None else None
        timeout_s = self._stream_timeout_s if scope["path"] in STREAMED_PATHS else self._timeout_s
        deadline = asyncio.timeout(None)
        try:
            async with deadline:
                timeout_s = requested_timeout_s(scope["headers"], timeout_s)
                SUBJECT.set(requested_subject(scope["headers"]))
                DEADLINE.set(monotonic() + timeout_s)
                deadline.reschedule(asyncio.get_running_loop().time() + timeout_s)
                await self._app(scope, receive, exchange.send)
        except ClientDisconnect:
            exchange.status = _CLIENT_LEFT
        except Exception as error:
            if isinstance(error, TimeoutError) and deadline.expired():
                error = DeadlineExceeded(f"the answer was not ready within {timeout_s:g} s")
            if not exchange.started:
                await answer_error(error, scope)(scope, receive, exchange.send)
            elif "hone.code" not in scope:
                _logger.exception("an answer broke off", extra={"request_id": scope["hone.request_id"]})
        finally:
            route = str(scope.get("hone.route") or getattr(scope.get("route"), "path", "") or "unmatched")
            self._measure(scope, route, exchange.status)
            if self._teller is not None and told is not None:
                self._teller.end(told, scope, route, exchange.status)

    def _measure(self, scope: Scope, route: str, status: int) -> None:
        self._answered.add((route, str(status)), (1, perf_counter() - scope["hone.started"]))
        if "hone.code" in scope:
            self._metrics.count("hone_refused_total", code=scope["hone.code"])


class _Exchange:
    """One request and its answer; leaves what others need in ``scope`` under ``hone.…``."""

    def __init__(self, scope: Scope, send: Send, *, proxied: bool) -> None:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        self._id = given if _SANE_ID.fullmatch(given) else random_hex(32).encode()
        # What comes the direct way has passed no proxy, whatever else this replica is reached by.
        self._adds_id = "hone.direct" in scope or not proxied or self._id != given
        self._send = send
        self.started = False
        # What is counted when the caller leaves before there is an answer.
        self.status = _CLIENT_LEFT
        scope["hone.request_id"] = self._id.decode("ascii")
        scope["hone.started"] = perf_counter()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            if self._adds_id:
                message = {**message, "headers": [*message.get("headers", []), (b"x-request-id", self._id)]}
        await self._send(message)
