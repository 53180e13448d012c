"""Several classifiers at one address: what stands before the routes of one that has a name."""

from __future__ import annotations

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Prefixed:
    """Takes ``prefix`` off the paths of requests for ``app``; one that lacks it is passed on as it is.

    Whatever stands in front chooses the classifier by the prefix and leaves it on. Behind this, no part of the application has
    to know of it.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix
        self._inside = f"{prefix}/"
        self._raw = self._inside.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        path = scope.get("path", "")
        if scope["type"] == "http" and path == self._prefix:
            if scope["method"] == "GET":
                # Its console names everything from where it lies, which has to end in a slash.
                await RedirectResponse(self._inside)(scope, receive, send)
                return
            scope = {**scope, "path": "/", "raw_path": b"/", "root_path": ""}
        elif scope["type"] == "http" and path.startswith(self._inside):
            raw = scope.get("raw_path") or path.encode()
            shorter = raw[len(self._prefix) :] if raw.startswith(self._raw) else path[len(self._prefix) :].encode()
            scope = {**scope, "path": path[len(self._prefix) :], "raw_path": shorter, "root_path": ""}
        await self._app(scope, receive, send)
