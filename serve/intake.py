"""The outermost layer: bodies that do not arrive are ended by a deadline, so that a trickle holds nothing for long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import BodyTooSlow
from serve.streams import STREAMED_PATHS

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
        # All have the same time, so the first is the next to run out. One timer serves all of them: one each would cost a
        # request more than the rest of this layer does.
        self._under_way: dict[_Body, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http" or not _has_body(scope["headers"]):
            await self._app(scope, receive, send)
            return
        if scope["path"] in STREAMED_PATHS:
            streamed = _StreamedBody(receive, send, self._read_timeout_s, 0.0)
            await self._app(scope, streamed.receive, streamed.send)
            return
        loop = asyncio.get_running_loop()
        body = _Body(receive, send, self._read_timeout_s, loop.time() + self._read_timeout_s)
        self._under_way[body] = None
        if self._timer is None:
            self._timer = loop.call_at(body.deadline, self._end_slow, loop)
        try:
            await self._app(scope, body.receive, body.send)
        finally:
            self._under_way.pop(body, None)

    def _end_slow(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        while self._under_way:
            body = next(iter(self._under_way))
            if not body.read and body.deadline > loop.time():
                self._timer = loop.call_at(body.deadline, self._end_slow, loop)
                return
            del self._under_way[body]
            body.expire()


class _Body:
    """One request's body on its way in, and the answer that may overtake it."""

    def __init__(self, receive: Receive, send: Send, timeout_s: float, deadline: float) -> None:
        self._receive = receive
        self._send = send
        self._timeout_s = timeout_s
        self.deadline = deadline
        self.read = False
        self._expired = False
        self._waiting: asyncio.Task[Any] | None = None

    def expire(self) -> None:
        """Wait no more, unless there is nothing to wait for."""
        self._expired = not self.read
        if self._expired and self._waiting is not None:
            self._waiting.cancel()

    async def receive(self) -> Message:
        if self.read:
            # What follows the body is the caller's leaving, which may take any time.
            return await self._receive()
        if self._late():
            raise self._too_slow()
        task = self._waiting = asyncio.current_task()
        cancelling = task.cancelling() if task is not None else 0
        try:
            message = await self._receive()
        except asyncio.CancelledError:
            # As in asyncio.timeout: only a cancellation of our own becomes an error of ours.
            if self._late() and task is not None and task.uncancel() <= cancelling:
                raise self._too_slow() from None
            raise
        finally:
            self._waiting = None
        self.read = not message.get("more_body", False)
        return message

    def _late(self) -> bool:
        return self._expired

    def _too_slow(self) -> BodyTooSlow:
        return BodyTooSlow(f"the body did not arrive within {self._timeout_s:g} s", allowed=self._timeout_s)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self.read:
            message = await self._overtaking(message)
        await self._send(message)

    async def _overtaking(self, start: Message) -> Message:
        headers = start.get("headers", [])
        if any(name == b"connection" for name, _ in headers):
            # It has read as much as it may already.
            return start
        await self._drain()
        return start if self.read else {**start, "headers": [*headers, (b"connection", b"close")]}

    async def _drain(self) -> None:
        """Take what is left of a small body: a connection that is closed while it arrives is reset, and the answer is lost."""
        left = _DRAIN_BYTES
        with contextlib.suppress(TimeoutError, BodyTooSlow):
            async with asyncio.timeout(_DRAIN_S):
                while not self.read and left > 0:
                    left -= len((await self.receive()).get("body", b""))


class _StreamedBody(_Body):
    """A body of any length that is worked on while it arrives: the time counts from one piece to the next."""

    async def receive(self) -> Message:
        if self.read:
            return await self._receive()
        try:
            async with asyncio.timeout(self._timeout_s):
                message = await self._receive()
        except TimeoutError:
            raise self._too_slow() from None
        self.read = not message.get("more_body", False)
        return message


def _has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 ") != b"") for name, value in headers
    )
