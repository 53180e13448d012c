"""Noting in the audit trail what operators did over HTTP: promoting, rolling back, starting and stopping runs, and the rest."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from starlette._utils import get_route_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import StoreUnavailable
from core.home import Home
from feedback import trailing
from serve.roles import RouteTable
from serve.store_calls import StoreCalls

# These note what they did themselves, in the transaction in which they did it.
_NOTED_BY_THEMSELVES = frozenset({"/v1/erasures", "/v1/subjects/export", "/v1/models/{version}/approve", "/v1/drift/reference"})
_MARK = "hone.trail_mark"

_logger = logging.getLogger("hone.serve")


class Trailed:
    """Wraps ``app``; what an operator changed is noted once it is done, on disk while the store is away."""

    def __init__(self, app: ASGIApp, store: StoreCalls, home: Home) -> None:
        self._app = app
        self._store = store
        self._pending = home.trail_pending
        self._routes = RouteTable()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        path = get_route_path(scope)
        route, role = self._routes.find(scope["method"], path)
        if role != "operate" or route in _NOTED_BY_THEMSELVES or route == "unmatched":
            await self._app(scope, receive, send)
            return
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self._app(scope, receive, watch)
        if status < 400:
            actor = str(scope.get("hone.actor", "local"))
            entry = {"actor": actor, "action": f"{scope['method']} {route}", "target": path}
            await self._note(entry | scope.get(_MARK, {}))

    async def _note(self, entry: dict[str, Any]) -> None:
        try:
            await self._store.call(trailing.note, self._pending, entry)
        except StoreUnavailable:
            _logger.warning("the trail waits on disk: the store is away")
            await asyncio.to_thread(trailing.keep, self._pending, entry)


def mark(scope: Scope, action: str, target: str, details: dict[str, Any]) -> None:
    """Have the entry about this request say what it amounted to, rather than its route."""
    scope[_MARK] = {"action": action, "target": target, "details": details}
