"""``/`` and ``/docs``: pages that need nothing but this service, and may load nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter
from starlette.responses import Response

from core.errors import UnknownRoute

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def console_router() -> APIRouter:
    """Return the routes of the console and of the reference page; their files are read once."""
    router = APIRouter(include_in_schema=False)
    found = dict(_contents(files("serve") / "console"))

    def page(name: str) -> Response:
        return Response(found[name], headers=_HEADERS, media_type="text/html")

    @router.get("/")
    async def console() -> Response:
        return page("index.html")

    @router.get("/docs")
    async def docs() -> Response:
        return page("docs.html")

    @router.get("/console/{name:path}")
    async def asset(name: str) -> Response:
        media_type = _TYPES.get(name.rpartition(".")[2])
        if media_type is None or name not in found:
            raise UnknownRoute("no route has this path; GET /openapi.json lists them all")
        return Response(found[name], headers=_HEADERS, media_type=media_type)

    return router


def _contents(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _contents(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry.read_bytes()
