"""One replica as a Ray actor: nothing but an adapter around the ASGI application.

Ray's process imports this module before the replica is made, so it imports nothing that reads the environment.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import ray
from ray import serve

from core.settings import Settings
from serve.direct import DOOR, in_force, ingress_in_use
from serve.loopback import keep_to_loopback
from serve.ray_nodes import RayNodes, own_node
from serve.scaling import METRIC

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class Replica:
    """Serves ``settings``'s registry; Ray makes it in its own process, and the application there too."""

    def __init__(self, settings: Settings, metrics_dir: Path) -> None:
        # Set here and not by a runtime environment, which takes Ray two seconds more at each start.
        os.environ |= _environment(settings, metrics_dir / own_node())
        # Before Ray opens its port, which it does when this is made.
        keep_to_loopback(str(ray.util.get_node_ip_address()))  # type: ignore[no-untyped-call] # Ray leaves it untyped
        from core.telemetry import configure_logging
        from serve.parts import assemble

        configure_logging(settings.log_level, settings.home.logs / "serve.jsonl", max_bytes=settings.log_max_bytes)
        # Which disk has room for bundles, each node knows best.
        own = {"ingress": ingress_in_use(), "bundles_cache": Settings().bundles_cache or settings.bundles_cache}
        settings = settings.model_copy(update=own)
        replica_id = serve.get_replica_context().replica_id.unique_id
        self._parts = assemble(settings, metrics_dir, replica_id, nodes=RayNodes())

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the application; Ray runs its lifespan."""
        from serve.app import build_app

        application = build_app(self._parts, proxied=True)
        if in_force():
            DOOR.application = application
        return application

    def check_health(self) -> None:
        """Raise when only a new process helps; Ray then starts one. A model that does not load is not such a case."""
        if not self._parts.batcher.alive:
            raise RuntimeError("batching has stopped")

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the requests at work that Ray does not know of."""
        return {METRIC: float(DOOR.ongoing)}


def _environment(settings: Settings, metrics_dir: Path) -> dict[str, str]:
    return {
        "PROMETHEUS_MULTIPROC_DIR": str(metrics_dir),
        "OMP_NUM_THREADS": str(settings.engine_threads or os.cpu_count() or 1),
        # The tokenizer's own threads would take the cores from the engine, which has the longer work.
        "TOKENIZERS_PARALLELISM": "false",
    }
