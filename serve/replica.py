"""One replica as a Ray actor: nothing but an adapter around the ASGI application."""

from __future__ import annotations

from pathlib import Path

from ray import serve
from starlette.types import ASGIApp

from core.settings import Settings
from core.telemetry import configure_logging
from serve.app import build_app
from serve.parts import assemble


class Replica:
    """Serves ``settings``'s registry; Ray makes it in its own process, and the application there too."""

    def __init__(self, settings: Settings, metrics_dir: Path) -> None:
        configure_logging(settings.log_level, settings.home.logs / "serve.jsonl")
        self._parts = assemble(settings, metrics_dir, serve.get_replica_context().replica_id.unique_id)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the application; Ray runs its lifespan."""
        return build_app(self._parts, proxied=True)

    def check_health(self) -> None:
        """Raise when only a new process helps; Ray then starts one. A model that does not load is not such a case."""
        if not self._parts.batcher.alive:
            raise RuntimeError("batching has stopped")
