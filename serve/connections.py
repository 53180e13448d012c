"""Connections that dawdle or overflow before there is a request: ended at the socket, where they cost next to nothing.

uvicorn waits for a request's head for ever and keeps a head of any size, and no setting of its bounds that. So its own protocol
is bounded here, and put where uvicorn looks for one. Behind HAProxy, which has limits of its own, it hardly ever acts.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import uvicorn.protocols.http.auto
from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from core.errors import HeadersTooLarge, HoneError, MalformedBody
from core.settings import Settings


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol; a head of more than ``max_header_bytes`` is refused, one slower than ``read_timeout_s`` cut off."""

    max_header_bytes: ClassVar[int] = 16_384
    read_timeout_s: ClassVar[float] = 10.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_body = False
        self._refused = False
        # What happened within the piece that came last.
        self._ended = False
        self._began = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in the class above
        """Wait for the first head."""
        super().connection_made(transport)
        self._begin_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._end_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, and refuse it if it is too much of a head."""
        if self._refused:
            return
        self._ended = self._began = False
        super().data_received(data)
        if self._in_body or self._refused or self.transport.is_closing():
            return
        if self._ended and not self._began:
            # Between two requests, where uvicorn's own timer runs.
            return
        if not self._ended:
            self._head_bytes += len(data)
        if self._head_bytes > self.max_header_bytes:
            self._refuse()
        elif self._head_timer is None:
            self._begin_waiting()

    def on_headers_complete(self) -> None:
        """Start on the request, if its head is not too large."""
        self._end_waiting()
        self._in_body = True
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self.max_header_bytes:
            self._refuse()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Know that the next byte belongs to another request."""
        self._in_body = False
        self._head_bytes = 0
        self._ended, self._began = True, False
        if not self._refused:
            super().on_message_complete()

    def on_message_begin(self) -> None:
        """Know that a head has begun."""
        self._began = True
        super().on_message_begin()

    def _begin_waiting(self) -> None:
        self._head_timer = self.loop.call_later(self.read_timeout_s, self._give_up)

    def _end_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            # The caller waits for an answer, too; that one is not cut off.
            self._begin_waiting()
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - ours says the same in the shape of all errors
        """Answer what is not HTTP."""
        self._answer(b"400 Bad Request", MalformedBody("the request is not well-formed HTTP"))

    def _refuse(self) -> None:
        allowed = self.max_header_bytes
        sentence = f"the request's head has more than the {allowed} bytes allowed"
        self._answer(b"431 Request Header Fields Too Large", HeadersTooLarge(sentence, allowed=allowed))

    def _answer(self, status: bytes, error: HoneError) -> None:
        self._refused = True
        self._end_waiting()
        body = to_json({"error": error.message, "code": error.code, "details": error.details, "request_id": ""})
        head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.close()


def bound_connections(settings: Settings) -> None:
    """Have every uvicorn server that this process starts from now on bound its connections by ``settings``."""
    BoundedProtocol.max_header_bytes = settings.max_header_bytes
    BoundedProtocol.read_timeout_s = settings.read_timeout_s
    uvicorn.protocols.http.auto.AutoHTTPProtocol = BoundedProtocol
