"""The ASGI application of one replica.

::

    Intake (slow bodies) ─► Edge (id, deadline, errors, counts, log, trace) ─► guard (keys, roles) ─► Router
                                                                                             ├─ predicting, straight on ASGI
                                                                                             └─ the rest, FastAPI
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from operator import attrgetter
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import HoneError
from core.release import release
from serve.auth import guarded
from serve.edge import Edge
from serve.formats.routing import FORMAT_BODIES, format_routers, hot_operations, hot_routes
from serve.intake import Intake
from serve.lifecycle import running
from serve.openapi import document
from serve.parts import Parts
from serve.prefix import Prefixed
from serve.roles import secure
from serve.routes_console import console_router
from serve.routes_corrections import corrections_router
from serve.routes_drift import drift_router
from serve.routes_history import history_router
from serve.routes_labels import labels_router
from serve.routes_models import models_router
from serve.routes_predict import PATH as PREDICT_PATH
from serve.routes_predict import PredictRoute
from serve.routes_privacy import PRIVACY_BODIES, privacy_router
from serve.routes_quality import quality_router
from serve.routes_review import review_router
from serve.routes_runs import runs_router
from serve.routes_status import status_router
from serve.statuses import answer_error
from serve.trailing import Trailed


def build_app(parts: Parts, *, proxied: bool = False) -> ASGIApp:
    """Return the application over ``parts``; its lifespan starts and ends their work.

    ``proxied`` says that a proxy in front repeats the request's ``x-request-id`` in the answer, and gives requests to any
    replica that has started: the lifespan begins once the champion was loaded, or could not be.
    """

    settings = parts.settings

    @asynccontextmanager
    async def lifespan(_: ASGIApp) -> AsyncIterator[None]:
        async with running(parts):
            if proxied:
                await parts.watcher.first_look(settings.load_timeout_s)
            yield

    ordinary = _ordinary_routes(parts)
    router = Router(build_routes(parts, ordinary), lifespan=lifespan)

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        # With an application named, Starlette's routes raise what they cannot answer instead of answering it in plain text.
        scope["app"] = ordinary
        await router(scope, receive, send)

    inside = guarded(Trailed(inner, parts.store, settings.home), settings, parts.key_watcher, parts.batcher.turned_away)
    edge = Edge(
        inside,
        parts.metrics,
        parts.teller,
        timeout_s=settings.request_timeout_s,
        stream_timeout_s=settings.stream_timeout_s,
        proxied=proxied,
    )
    taken = Intake(edge, settings.read_timeout_s)
    return Prefixed(taken, settings.route_prefix) if settings.name else taken


def build_routes(parts: Parts, ordinary: FastAPI | None = None) -> list[BaseRoute]:
    """Return every route there is; each has its role in ``serve.roles``."""
    predict = PredictRoute(parts.predictor, parts.settings)
    return [Route(PREDICT_PATH, predict), *hot_routes(parts), Mount("", ordinary or _ordinary_routes(parts))]


def _ordinary_routes(parts: Parts) -> FastAPI:
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        # Generated clients show the name of an operation.
        generate_unique_id_function=attrgetter("name"),
    )
    routers = (
        corrections_router(parts),
        labels_router(parts),
        models_router(parts),
        privacy_router(parts),
        quality_router(parts),
        review_router(parts),
        drift_router(parts),
        history_router(parts),
        runs_router(parts),
        status_router(parts),
        console_router(),
    )
    for router in (*routers, *format_routers(parts)):
        app.include_router(router)

    @cache
    def specification() -> dict[str, Any]:
        # Made when it is first asked for: making it takes longer than all else at a start.
        made = secure(document(app.routes, release(), hot_operations(), [*FORMAT_BODIES, *PRIVACY_BODIES]))
        prefix = parts.settings.route_prefix
        return {**made, "servers": [{"url": prefix}]} if prefix else made

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return specification()

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:
            # Starlette names the methods of the first route with this path only.
            operations = specification()["paths"].get(getattr(request.scope.get("route"), "path", ""), {})
            named = (error.headers or {}).get("Allow", "")
            error = HTTPException(405, headers={"Allow": ", ".join([*operations, named]).upper()})
        return answer_error(error, request.scope)

    for kind in (HoneError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, answer)
    return app
