"""Where the service runs and is reached, how many replicas it has, what it logs and promises."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

from core.settings.kinds import CONFIG, Ratio
from core.slo import check_latency


class ServiceSettings(BaseSettings):
    """The service as its operator deploys it."""

    model_config = CONFIG

    home_dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("hone"),
        validation_alias="HONE_HOME",
        description="Folder of all state: versions, feedback, snapshots, runs, caches.",
    )
    name: str = Field(
        "",
        pattern=r"^([a-z][a-z0-9-]{0,31})?$",
        description="Name of this classifier where several share a cluster: its routes begin with `/NAME`, its state is in "
        "`HONE_HOME/NAME`, its versions under `HONE_BUNDLES_URL/NAME`. Empty: it is the only one.",
    )
    host: str = Field("127.0.0.1", description="Address the service listens on; loopback answers nobody else.")
    port: int = Field(8321, ge=1, le=65535, description="Port the service listens on.")
    auth: Literal["auto", "on", "off"] = Field(
        "auto", description="Whether requests take an API key: `auto` is off on loopback and on everywhere else."
    )
    allow_unauthenticated: bool = Field(
        False, description="Allow `HONE_AUTH=off` on an address other than loopback; anybody who reaches it may then promote."
    )
    api_key: str = Field("", repr=False, description="API key that the command line and the client send.")
    ray_address: str = Field("", description="Ray cluster to use; empty starts one for this stack alone.")
    ingress: Literal["auto", "haproxy", "proxy"] = Field(
        "auto", description="What stands before the replicas: HAProxy, or Ray's proxy in Python. `auto`: HAProxy where it runs."
    )
    replicas: int = Field(1, ge=1, le=256, description="Serving replicas; the fewest where load decides.")
    replicas_max: int = Field(
        0, ge=0, le=256, description="Most replicas: load decides between `HONE_REPLICAS` and this. 0: their number is fixed."
    )
    scale_target_requests: float = Field(16.0, gt=0, description="Requests at work in each replica that scaling aims at.")
    scale_up_delay_s: float = Field(5.0, ge=0, description="Seconds that load must be high before replicas are added.")
    scale_down_delay_s: float = Field(60.0, ge=0, description="Seconds that load must be low before replicas are ended.")
    surge_ratio: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Share of the replicas, rounded up, that an upgrade starts beside the old ones before it ends any; "
        "0: old ones end first, for nodes without room.",
    )
    replica_cpus: float = Field(
        0.5, gt=0, description="Cores that Ray reserves for one replica; decides how many fit on a node, limits nothing."
    )
    replica_gpus: float = Field(
        0.0, ge=0, description="Share of a GPU that Ray reserves for one replica; 0 hides all GPUs from it."
    )
    engine_threads: int = Field(
        0, ge=0, le=256, description="Threads of one replica's engine; 0 shares the cores out among the most replicas."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is logged.")
    log_max_bytes: int = Field(
        50_000_000,
        ge=10_000,
        description="Size at which a log file of the replicas is put aside; of each, three older are kept.",
    )
    access_log_ratio: Ratio = Field(
        0.0, description="Share of requests with a line in `logs/access.jsonl`; server errors always have one. 0: no such log."
    )
    traces_url: str = Field(
        "",
        description="Collector that traces are sent to by OTLP over HTTP, such as `http://localhost:4318`; takes the extra "
        "`otel`. Empty: no traces.",
    )
    traces_ratio: Ratio = Field(
        1.0, description="Share of requests without a `traceparent` that are traced; those with one are as it says."
    )

    slo_availability_ratio: float = Field(
        0.999,
        ge=0.0,
        le=0.999999,
        description="Least share of prediction requests that end without a server error; alerts are made for it.",
    )
    slo_latency_s: Annotated[float, AfterValidator(check_latency)] = Field(
        0.25, gt=0, description="Seconds a prediction request should take at most; one of the bounds of the histograms."
    )
    slo_latency_ratio: float = Field(
        0.99,
        ge=0.0,
        le=0.999999,
        description="Least share of prediction requests that should be as fast; alerts are made for it.",
    )
