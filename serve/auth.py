"""Who may ask: API keys and their roles, checked inside the replica, because its port can be reached past any proxy."""

from __future__ import annotations

import binascii
import logging
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable

from starlette._utils import get_route_path
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import ForeignHost, KeyBusy, RoleMissing, Unauthenticated
from core.exposure import check_exposure
from core.keys import Key, Role
from core.settings import Settings
from serve.key_watcher import KeyWatcher
from serve.roles import RouteTable

# A name without a dot, one under localhost, or an address; with or without a port.
_NEAR = re.compile(rb"(?:[^.:\[\]]*|(?:[^.:]+\.)*localhost\.?|[0-9.]+|\[[0-9a-f:.]+\])(?::[0-9]*)?", re.IGNORECASE)
_WHERE = "send it as Authorization: Bearer KEY; on the command line set HONE_API_KEY"

_logger = logging.getLogger("hone.serve")


class KeyGuard:
    """Lets requests pass to ``app`` whose key has the role their route takes.

    At most ``max_in_flight`` requests of one key are worked on at a time (0: any number). ``turned_away`` hears of each request
    for answers that is refused for that.
    """

    def __init__(self, app: ASGIApp, watcher: KeyWatcher, *, max_in_flight: int, turned_away: Callable[[], None]) -> None:
        self._app = app
        self._watcher = watcher
        self._max_in_flight = max_in_flight
        self._turned_away = turned_away
        self._routes = RouteTable()
        self._in_flight: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or raise."""
        if scope["type"] == "websocket":
            # No route is one; shut here, so that none is ever open by mistake.
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route, role = self._routes.find(scope["method"], get_route_path(scope))
        if role is None:
            await self._app(scope, receive, send)
            return
        # So that what is refused here is counted by route as well.
        scope["hone.route"] = route
        key = self._admit(scope, role)
        scope["hone.actor"] = f"{key.name} ({key.key_id})"
        self._begin(key, asks=role == "predict" and scope["method"] == "POST")
        try:
            if role == "operate":
                _logger.info("operated", extra={"key": key.key_id, "key_name": key.name, "route": f"{scope['method']} {route}"})
            await self._app(scope, receive, send)
        finally:
            self._in_flight[key.key_id] -= 1
            if not self._in_flight[key.key_id]:
                del self._in_flight[key.key_id]

    def _admit(self, scope: Scope, role: Role) -> Key:
        secret = presented(scope["headers"])
        if secret is None:
            raise Unauthenticated(f"this route takes an API key of the role {role} or above; {_WHERE}", role=role)
        key = self._watcher.keys.find(secret)
        if key is None:
            raise Unauthenticated("the API key is not known, has expired, or was revoked", role=role)
        if not key.reaches(role):
            raise RoleMissing(
                f"this takes an API key of the role {role} or above; the key {key.name} has the role {key.role}",
                role=role,
                got=key.role,
            )
        return key

    def _begin(self, key: Key, *, asks: bool) -> None:
        if self._max_in_flight and self._in_flight[key.key_id] >= self._max_in_flight:
            if asks:
                self._turned_away()
            raise KeyBusy(
                f"the key {key.name} has {self._max_in_flight} requests in flight already; send fewer at a time",
                allowed=self._max_in_flight,
            )
        self._in_flight[key.key_id] += 1


class HostGuard:
    """Lets requests pass to ``app`` that were sent to this machine by a name of its own.

    Stands where loopback is the only protection: a web page can have its own name point to 127.0.0.1, and would then be of the
    same origin as this service. The ``Host`` header gives it away.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or raise."""
        if scope["type"] == "http":
            host = next((value for name, value in scope["headers"] if name == b"host"), b"")
            if not _NEAR.fullmatch(host):
                raise ForeignHost(
                    "this service listens on loopback without API keys, and then answers requests to localhost only; "
                    "where a proxy in front passes other names on, set HONE_AUTH=on"
                )
        await self._app(scope, receive, send)


def presented(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the secret of a request: the ``Authorization`` header's, as Bearer or as password, else ``x-api-key``."""
    found = {name: value for name, value in headers if name in (b"authorization", b"x-api-key")}
    scheme, _, credentials = found.get(b"authorization", b"").partition(b" ")
    match scheme.lower():
        case b"bearer":
            return credentials.strip().decode("latin-1")
        case b"basic":
            return _password(credentials)
    return found[b"x-api-key"].strip().decode("latin-1") if b"x-api-key" in found else None


def _password(credentials: bytes) -> str:
    try:
        return b64decode(credentials.strip(), validate=True).partition(b":")[2].decode("latin-1")
    except binascii.Error:
        return ""


def guarded(app: ASGIApp, settings: Settings, watcher: KeyWatcher | None, turned_away: Callable[[], None]) -> ASGIApp:
    """Return ``app`` behind the protection these settings ask for; ``turned_away`` as for :class:`KeyGuard`.

    Raises:
        Exposed: they ask for none, where other machines reach it.
    """
    check_exposure(settings)
    if watcher is not None:
        return KeyGuard(app, watcher, max_in_flight=settings.max_in_flight_per_key, turned_away=turned_away)
    return HostGuard(app) if settings.on_loopback else app
