"""The outermost layer: bodies that do not arrive are ended by a deadline, so that a trickle holds nothing for long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import BodyTooSlow

# What an answer that overtakes its body waits for: enough for a body that is on its way, too little to be worth holding open.
_DRAIN_BYTES = 65_536
_DRAIN_S = 0.5


class Intake:
    """Passes requests to ``app`` and raises :class:`BodyTooSlow` inside it when a body takes more than ``read_timeout_s``.

    An answer that is given before the body has been read ends the connection, which could not carry another request.
    """

    def __init__(self, app: ASGIApp, read_timeout_s: float) -> None:
        self._app = app
        self._read_timeout_s = read_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] == "http" and _has_body(scope["headers"]):
            body = _Body(receive, send, self._read_timeout_s)
            await self._app(scope, body.receive, body.send)
        else:
            await self._app(scope, receive, send)


class _Body:
    """One request's body on its way in, and the answer that may overtake it."""

    def __init__(self, receive: Receive, send: Send, timeout_s: float) -> None:
        self._receive = receive
        self._send = send
        self._timeout_s = timeout_s
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._read = False

    async def receive(self) -> Message:
        if self._read:
            # What follows the body is the caller's leaving, which may take any time.
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlow(f"the body did not arrive within {self._timeout_s:g} s", allowed=self._timeout_s) from None
        self._read = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._read:
            message = await self._overtaking(message)
        await self._send(message)

    async def _overtaking(self, start: Message) -> Message:
        headers = start.get("headers", [])
        if any(name == b"connection" for name, _ in headers):
            # It has read as much as it may already.
            return start
        await self._drain()
        return start if self._read else {**start, "headers": [*headers, (b"connection", b"close")]}

    async def _drain(self) -> None:
        """Take what is left of a small body: a connection that is closed while it arrives is reset, and the answer is lost."""
        left = _DRAIN_BYTES
        with contextlib.suppress(TimeoutError, BodyTooSlow):
            async with asyncio.timeout(_DRAIN_S):
                while not self._read and left > 0:
                    left -= len((await self.receive()).get("body", b""))


def _has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 ") != b"") for name, value in headers
    )
