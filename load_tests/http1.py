"""HTTP/1.1 as a load generator needs it: requests rendered once, replies read with as little work as possible.

A generator that shares the machine with what it measures takes cores from it, so an HTTP library's convenience would show in
every figure. One request is under way per connection; nothing is pipelined.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *\d", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is kept of an answer. ``closes`` says that the server ends the connection after it."""

    status: int
    retry_after: bool
    closes: bool


def render_request(url: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a POST of JSON as it goes over the wire.

    >>> render_request("http://127.0.0.1:80/predict", b"{}").splitlines()[0]
    b'POST /predict HTTP/1.1'
    """
    parts = urlsplit(url)
    head = {"host": parts.netloc, "content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    lines = [f"POST {parts.path or '/'} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class ReplyReader:
    """Puts one answer after the other together from what the socket gives."""

    def __init__(self) -> None:
        self._parts = b""

    def feed(self, data: bytes) -> Reply | None:
        """Return the answer once ``data`` completes it.

        Raises:
            ValueError: it is no HTTP answer, or says neither its length nor that it comes in chunks.
        """
        if self._parts:
            data = self._parts + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or not self._complete(data, end):
            self._parts = data
            return None
        self._parts = b""
        head = data[:end]
        status = int(head[9:12])
        return Reply(status, status != 200 and _RETRY_AFTER.search(head) is not None, _CLOSE.search(head) is not None)

    @staticmethod
    def _complete(data: bytes, end: int) -> bool:
        length = _LENGTH.search(data, 0, end)
        if length is not None:
            return len(data) >= end + 4 + int(length[1])
        if _CHUNKED.search(data, 0, end):
            return data.endswith(b"0\r\n\r\n") and len(data) > end + 4
        raise ValueError("an answer came without Content-Length and not in chunks")


class Connection(asyncio.Protocol):
    """One keep-alive connection. ``answered`` gets each reply; ``lost`` is called when it ends, whoever ended it."""

    def __init__(self, answered: Callable[[Connection, Reply], None], lost: Callable[[Connection], None]) -> None:
        self._answered = answered
        self._lost = lost
        self._reader = ReplyReader()
        self._transport: asyncio.Transport
        # Free for whoever drives the connection: when its request was due, and when it was sent.
        self.due_s = self.sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        """Send a rendered request; the one before must have been answered."""
        self._transport.write(request)

    def close(self) -> None:
        """End the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hand the answer on once it is complete."""
        try:
            reply = self._reader.feed(data)
        except ValueError:
            self.close()
            return
        if reply is None:
            return
        if reply.closes:
            self.close()
        self._answered(self, reply)

    def connection_lost(self, _error: Exception | None) -> None:
        """Say that no more can be sent."""
        self._lost(self)
