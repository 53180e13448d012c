"""The service on a Ray cluster: started and stopped by whoever has joined that cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ray import serve

from core.settings import Settings
from serve.replica import Replica

APP_NAME = "hone"

# Ray's own queue must be the longer one: what waits there cannot be refused in time, nor dropped when its caller leaves.
_ONGOING_SPARE = 1_000
_DRAIN_S = 6.0


def start_service(settings: Settings, *, metrics_dir: Path) -> None:
    """Return when the replicas are up; a model may still be loading, which ``/readyz`` tells. Ray is initialised already.

    Raises:
        RuntimeError: from Ray Serve, when the port is taken or a replica does not start.
    """
    http_options = {"host": settings.host, "port": settings.port}
    serve.start(proxy_location="HeadOnly", http_options=http_options, logging_config={"enable_access_log": False})
    serve.run(_application(settings, metrics_dir), name=APP_NAME, route_prefix="/", blocking=False)


def stop_service() -> None:
    """End the replicas, after what is in flight, and Ray Serve; the cluster stays."""
    serve.shutdown()  # type: ignore[no-untyped-call] # Ray leaves it untyped


def _application(settings: Settings, metrics_dir: Path) -> serve.Application:
    deployment = serve.deployment(
        name="Replica",
        num_replicas=settings.replicas,
        max_ongoing_requests=settings.queue_max_texts + _ONGOING_SPARE,
        # A reservation, not a limit: the rest of the machine is left to training, which gives way by its niceness.
        ray_actor_options={"num_cpus": 0.5, "runtime_env": {"env_vars": _environment(settings, metrics_dir)}},
        health_check_period_s=2.0,
        health_check_timeout_s=20.0,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=_DRAIN_S,
        logging_config={"enable_access_log": False},
    )
    return deployment(serve.ingress()(Replica)).bind(settings, metrics_dir)


def _environment(settings: Settings, metrics_dir: Path) -> dict[str, Any]:
    threads = settings.engine_threads or os.cpu_count() or 1
    return {
        "PROMETHEUS_MULTIPROC_DIR": str(metrics_dir),
        "OMP_NUM_THREADS": str(threads),
        # The tokenizer's own threads would take the cores from the engine, which has the longer work.
        "TOKENIZERS_PARALLELISM": "false",
    }
