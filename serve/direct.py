"""The short way in: where Ray lets callers into the replica's own process, they meet the application at once.

With direct ingress each replica has a uvicorn server of its own, and Ray wraps every request in its metadata, metrics, queue
and tasks. Hone has its own of all these, and the wrapping costs as much again as the rest of the way (no-op, 32 connections,
2 cores: 2,300 requests/s with it, 4,600 without). Ray's hook for middlewares is where to step past it: it names
:func:`middlewares`, in every process that serves HTTP; only in a replica is there an application to hand requests to.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Literal

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.settings import Settings

HOOK = "serve.direct.middlewares"
# Ray's own routes, which HAProxy asks whether this replica may be given requests.
_RAY_ROUTES = "/-/"


def direct_environment() -> dict[str, str]:
    """Return the variables of Ray's processes under which requests come this way."""
    return {
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": HOOK,
        # The application runs on the loop of the server, so that no request changes threads; what blocks has its own threads.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    }


def in_force(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether requests of this replica come this way.

    >>> in_force(direct_environment()), in_force({})
    (True, False)
    """
    return all(environment.get(name) == value for name, value in direct_environment().items())


def ingress_in_use(environment: Mapping[str, str] = os.environ) -> Literal["haproxy", "proxy"]:
    """Return what stands in front of this replica."""
    return "haproxy" if environment.get("RAY_SERVE_ENABLE_HA_PROXY") == "1" else "proxy"


class Door:
    """Where requests enter the application of this process, once there is one."""

    def __init__(self) -> None:
        self.application: ASGIApp | None = None
        self.ongoing = 0

    async def enter(self, application: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have ``application`` answer one request, and stop it when the caller leaves before."""
        scope["hone.direct"] = True
        visit = _Visit(receive, send)
        self.ongoing += 1
        try:
            await application(scope, visit.receive, visit.send)
        except asyncio.CancelledError:
            if not visit.left:
                raise
        finally:
            self.ongoing -= 1
            visit.end()


DOOR = Door()


class DirectWay:
    """Wraps Ray's handling of a request; a request for the application steps past it."""

    def __init__(self, app: ASGIApp) -> None:
        self._ray = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, by the application if it is one for it."""
        application = DOOR.application
        if application is None or scope["type"] != "http" or scope["path"].startswith(_RAY_ROUTES):
            await self._ray(scope, receive, send)
        else:
            await DOOR.enter(application, scope, receive, send)


def middlewares() -> list[Middleware]:
    """Return what Ray is to put around its handling of requests; called before a process of Ray's starts its server."""
    from serve.connections import bound_connections

    bound_connections(Settings())
    return [Middleware(DirectWay)]


class _Visit:
    """One request's messages; from the end of its body to the end of its answer a task waits for the caller to leave."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._task = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None
        self.left = False

    async def receive(self) -> Message:
        message = await self._receive()
        if self._watch is None and message["type"] == "http.request" and not message.get("more_body", False):
            self._watch = asyncio.create_task(self._wait_for_leave())
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            # What the server says from here on is about the next request.
            self.end()
        await self._send(message)

    def end(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _wait_for_leave(self) -> None:
        # After the whole body there is only one thing left to hear.
        await self._receive()
        self.left = True
        if self._task is not None:
            self._task.cancel()
