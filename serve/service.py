"""The service on a Ray cluster: started and stopped by whoever has joined that cluster."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ray import serve

from core.exposure import check_exposure
from core.settings import Settings
from serve.replica import Replica
from serve.scaling import autoscaling_config

# Ray's own queue must be the longer one: what waits there cannot be refused in time, nor dropped when its caller leaves.
_ONGOING_SPARE = 1_000
_DRAIN_S = 6.0
# What a running replica need not be started anew for.
_SCALING = {
    "slo_availability_ratio",
    "slo_latency_s",
    "slo_latency_ratio",
    "replicas",
    "replicas_max",
    "scale_target_requests",
    "scale_up_delay_s",
    "scale_down_delay_s",
    "surge_ratio",
}


def start_service(settings: Settings, *, metrics_dir: Path, host: str | None = None) -> None:
    """Return when the replicas are up; a model may still be loading, which ``/readyz`` tells. Ray is initialised already.

    The processes of each node count in a folder of ``metrics_dir`` that is named after the node. ``host`` is where Ray's own
    servers listen, unless it is the address of ``settings``.

    Raises:
        RuntimeError: from Ray Serve, when the port is taken or a replica does not start.
    """
    http_options = {"host": host or settings.host, "port": settings.port}
    serve.start(proxy_location="HeadOnly", http_options=http_options, logging_config={"enable_access_log": False})
    prefix = settings.route_prefix or "/"
    serve.run(_application(settings, metrics_dir), name=settings.app_name, route_prefix=prefix, blocking=False)


def application(_arguments: dict[str, str]) -> serve.Application:
    """Return the application for whoever deploys it by name (``serve deploy``, KubeRay); settings come from the environment.

    Its proxies may be reached by other machines, so it is refused where they would be answered without a key.

    Raises:
        Exposed: the settings open the service to others and nobody said that they may ask without a key.
    """
    settings = Settings()
    check_exposure(settings)
    settings.home.prepare()
    return _application(settings, settings.home.metrics)


def stop_service(settings: Settings) -> None:
    """End the replicas, after what is in flight, and Ray Serve unless it has other applications; the cluster stays."""
    own = settings.app_name
    if set(serve.status().applications) - {own}:
        serve.delete(own)
    else:
        serve.shutdown()  # type: ignore[no-untyped-call] # Ray leaves it untyped


def _application(settings: Settings, metrics_dir: Path) -> serve.Application:
    settings = settings.model_copy(update={"engine_threads": settings.threads_per_engine(os.cpu_count() or 1)})
    deployment = serve.deployment(
        name="Replica",
        max_ongoing_requests=settings.queue_max_texts + _ONGOING_SPARE,
        # A reservation, not a limit: the rest of the machine is left to training, which gives way by its niceness.
        ray_actor_options={"num_cpus": settings.replica_cpus, "num_gpus": settings.replica_gpus},
        health_check_period_s=2.0,
        health_check_timeout_s=20.0,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=_DRAIN_S,
        # Replacements come first, and are asked once they have a model; where they find no room, the old ones serve on.
        max_surge_percent=round(100 * settings.surge_ratio),
        logging_config={"enable_access_log": False},
        **_scale(settings),
    )
    # Without a version of ours every start on a cluster where the service already runs would replace all replicas.
    made = deployment(serve.ingress()(Replica)).options(version=_version(settings, metrics_dir), _internal=True)
    return made.bind(settings, metrics_dir)


def _scale(settings: Settings) -> dict[str, Any]:
    if settings.replicas_max <= settings.replicas:
        return {"num_replicas": settings.replicas}
    config = autoscaling_config(
        least=settings.replicas,
        most=settings.replicas_max,
        target_requests=settings.scale_target_requests,
        up_delay_s=settings.scale_up_delay_s,
        down_delay_s=settings.scale_down_delay_s,
    )
    return {"autoscaling_config": config}


def _version(settings: Settings, metrics_dir: Path) -> str:
    try:
        release = version("hone")
    except PackageNotFoundError:
        release = "0"
    read = settings.model_dump_json(exclude=_SCALING)
    return hashlib.sha256(f"{release}\n{metrics_dir}\n{read}".encode()).hexdigest()[:16]
