"""Every setting of Hone, read once at an entry point (``Settings()``) and passed down.

Each is an environment variable ``HONE_<NAME>``. The table in the README is generated from the descriptions here
(``python -m deploy.reference``), and a test fails when the two differ.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import platformdirs
from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.home import Home
from core.schemas import TextKept

if TYPE_CHECKING:
    from core.redaction import Redactor

Speed = Literal["head", "full"]
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]


class Settings(BaseSettings):
    """What an operator can decide; every default suits one laptop."""

    # An empty variable is one that is not set, as compose files write it; HONE_HOME= must not mean the present folder.
    model_config = SettingsConfigDict(
        env_prefix="HONE_", env_ignore_empty=True, frozen=True, extra="ignore", allow_inf_nan=False
    )

    home_dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("hone"),
        validation_alias="HONE_HOME",
        description="Folder of all state: versions, feedback, snapshots, runs, caches.",
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

    max_body_bytes: int = Field(2_000_000, ge=1_000, description="Largest request body; more is refused with 413.")
    max_texts: int = Field(1_000, ge=1, description="Most texts in one request; more is refused with 422.")
    max_text_chars: int = Field(20_000, ge=1, description="Longest text in characters; longer is refused with 422.")
    max_request_tokens: int = Field(
        300_000, ge=1, description="Most tokens of one request, after each text is cut; more is refused with 422."
    )
    max_header_bytes: int = Field(16_384, ge=1_024, description="Largest head of a request; more is refused with 431.")
    max_in_flight_per_key: int = Field(
        256, ge=0, description="Most requests of one API key that a replica works on at a time; more get 429. 0: no limit."
    )
    read_timeout_s: float = Field(
        10.0, gt=0, description="Seconds a request's head, and then its body, may take to arrive; slower ends with 408."
    )
    batch_max_texts: int = Field(32, ge=1, description="Most texts the engine takes at once.")
    batch_max_tokens: int = Field(4_096, ge=16, description="Most tokens, padding included, the engine takes at once.")
    explain_max_texts: int = Field(
        4, ge=1, description="Most texts of one request that are explained; more is refused with 422."
    )
    explain_budget_texts: int = Field(
        256, ge=1, le=10_000, description="Shortened texts that may be scored to explain one; more make estimates steadier."
    )
    queue_max_texts: int = Field(4_000, ge=1, description="Texts that may wait for the engine; more is refused with 429.")
    queue_max_wait_s: float = Field(
        2.0,
        gt=0,
        description="Seconds of waiting, by the engine's pace, that a request is let into; more is refused with 429.",
    )
    overload_wait_s: float = Field(
        0.05, gt=0, description="Those seconds while arrivals outrun answers, so that overload does not make everybody wait."
    )
    request_timeout_s: float = Field(30.0, gt=0, description="Seconds after which a request is given up with 504.")
    stream_timeout_s: float = Field(
        600.0, gt=0, description="Seconds that a bulk request or an export may take in all; longer ends it."
    )
    bulk_max_bytes: int = Field(
        1_000_000_000, ge=1_000, description="Largest body of a bulk request; a row has at most `HONE_MAX_BODY_BYTES`."
    )
    swap_poll_s: float = Field(0.5, gt=0, description="Seconds between looks at the champion alias; bounds a swap's delay.")
    load_timeout_s: float = Field(
        120.0, gt=0, description="Seconds a version may take to load, twice over for a new encoder; longer fails its rollout."
    )
    memory_reserve_bytes: int = Field(
        200_000_000, ge=0, description="Memory that must stay free when a version is loaded; one that needs it is not loaded."
    )
    probation_s: float = Field(
        600.0, ge=0, description="Seconds for which a promoted version is watched and may be rolled back by itself; 0: none."
    )
    probation_sample_ratio: Ratio = Field(
        0.2,
        description="Share of requests whose texts the version before answers too, in a process of its own, during probation.",
    )
    probation_min_texts: int = Field(
        30, ge=1, description="Fewest observations on which probation judges; failures are counted by request."
    )
    probation_alpha: float = Field(
        0.01, gt=0, lt=0.5, description="Chance that probation rolls a version back that keeps all limits."
    )
    probation_max_failure_ratio: Ratio = Field(0.01, description="Share of requests on which a version's engine may fail.")
    probation_max_slowdown: float = Field(
        2.0, ge=1, description="How many times as long as the version before the engine may take for the median text."
    )
    probation_slow_s: float = Field(0.02, ge=0, description="Seconds of engine time below which a text is never slow.")
    probation_max_less_sure_ratio: Ratio = Field(
        0.4, description="Share of texts on which the best score may fall by more than 0.3."
    )
    probation_max_disagreement_ratio: Ratio = Field(
        0.5, description="Share of texts that may get another label than from the version before."
    )
    canary_ratio: Ratio = Field(0.0, description="Share of requests that the challenger answers; 0: none.")
    shadow_ratio: Ratio = Field(
        0.0, description="Share of requests that the challenger answers too, silently, for comparison; 0: none."
    )

    store_url: str = Field(
        "", repr=False, description="SQLAlchemy address of the feedback store; empty is SQLite in the state folder."
    )
    log_predictions: bool = Field(True, description="Keep predictions, so that corrections can name them.")
    log_sample_ratio: Ratio = Field(
        1.0, description="Share of predictions that are kept, chosen by chance; the others can be corrected by text alone."
    )
    log_text: TextKept = Field(
        "full",
        description="What is kept of a predicted text: all of it, what redaction leaves, its key alone (`hash`), or `none`. "
        "With the last two a correction by id has to bring the text.",
    )
    log_queue_rows: int = Field(20_000, ge=1, description="Predictions that may wait in memory for the store.")
    spool_max_bytes: int = Field(
        64_000_000, ge=0, description="Disk for predictions the store cannot take; beyond it they count as dropped."
    )

    redact_kinds: str = Field(
        "all",
        description="What is taken out of texts and metadata where `HONE_LOG_TEXT` is not `full`: `all`, or some of `email`, "
        "`ip`, `national_id`, `card`, `phone`, with commas.",
    )
    redact_patterns: str = Field(
        "", description='More to take out: a JSON object of names and regular expressions, `{"order": "ORD-[0-9]+"}`.'
    )
    redact_regions: str = Field(
        "CN,US,GB", description="Countries whose phone numbers are known without their prefix, with commas."
    )

    learn_after_corrections: int = Field(
        50, ge=0, description="Corrections since the last run that start the next; 0: none do."
    )
    learn_every_s: float = Field(0.0, ge=0, description="Seconds between runs on a schedule; 0: no schedule.")
    learn_speed: Speed = Field("head", description="What a triggered run refits: `head`, or `full` with the encoder.")
    learn_nice: int = Field(10, ge=0, le=19, description="Niceness of training, so that it gives way to serving.")
    label_min_texts: int = Field(
        5, ge=0, description="Different texts that take a proposed label into the set; 0: only an operator does."
    )
    label_min_annotators: int = Field(
        2, ge=1, description="Different named annotators who must have said so of them; who gives no name backs nothing."
    )
    correction_weight: float = Field(4.0, gt=0, description="Weight of a corrected text against a base text in training.")

    suspect_model_score: Ratio = Field(
        0.98,
        description="Confidence of a model from which what contradicts it is held back, unless two agree on it. 1: never.",
    )
    suspect_annotator_accuracy: Ratio = Field(
        0.5, description="An annotator who is certainly right less often than this has all corrections held back."
    )
    suspect_consensus_probability: Ratio = Field(
        0.6, description="Probability that a text's likeliest label needs to be learned, where annotators differ."
    )
    suspect_burst_corrections: int = Field(
        600, ge=0, description="Most corrections of one annotator within `HONE_SUSPECT_BURST_WINDOW_S`; 0: no limit."
    )
    suspect_burst_window_s: float = Field(60.0, gt=0, description="Seconds within which a burst of corrections is counted.")
    suspect_resemblance: float = Field(
        0.85, gt=0.0, le=1.0, description="Overlap of two texts from which different labels for them are held back."
    )

    audit_ratio: Ratio = Field(
        0.01, description="Share of predictions that chance puts into the review queue, to estimate live accuracy; 0: none."
    )
    review_audit_ratio: Ratio = Field(0.3, description="Share of the review queue that is the audit's, while it has any.")
    review_suspect_ratio: Ratio = Field(0.3, description="Share of the review queue that is suspicious corrections.")
    review_queue_items: int = Field(
        200, ge=0, description="Uncertain predictions that are kept ready for review; 0: none are looked for."
    )
    review_lease_s: float = Field(600.0, gt=0, description="Seconds for which a review item is kept for who asked for it.")

    gate_min_rows: int = Field(50, ge=1, description="Fewest holdout rows on which a candidate may be judged.")
    gate_alpha: float = Field(0.05, gt=0, lt=0.5, description="Level of the paired one-sided test for a gain.")
    gate_max_loss_ratio: Ratio = Field(0.005, description="Most accuracy a candidate may lose on the holdout.")
    gate_max_class_loss_ratio: Ratio = Field(0.10, description="Most recall one class may lose, when the loss is significant.")
    gate_max_negative_flip_ratio: Ratio = Field(0.05, description="Most holdout rows that may turn from right to wrong.")
    gate_min_parity_ratio: Ratio = Field(0.99, description="Least agreement of the exported engine with torch.")

    @model_validator(mode="after")
    def _can_redact(self) -> Settings:
        if self.log_text != "full":
            self.redactor  # noqa: B018 - said here, an operator sees it at the start and not at the first text
        return self

    @property
    def redactor(self) -> Redactor:
        """What takes personal data out of texts.

        Raises:
            ValueError: the settings name what there is not.
        """
        from core.redaction import redactor_of

        return redactor_of(self.redact_kinds, self.redact_patterns, self.redact_regions)

    @property
    def home(self) -> Home:
        """The layout of the state folder."""
        return Home(self.home_dir.expanduser().resolve())

    def threads_per_engine(self, cores: int) -> int:
        """Return how many threads each replica's engine gets, so that all replicas together fit ``cores``.

        >>> home = Path("/srv/hone")
        >>> Settings(HONE_HOME=home).threads_per_engine(8), Settings(HONE_HOME=home, replicas_max=4).threads_per_engine(8)
        (8, 2)
        """
        return self.engine_threads or max(1, cores // max(self.replicas, self.replicas_max))

    @property
    def url(self) -> str:
        """Where this stack's service is reached from this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def on_loopback(self) -> bool:
        """Whether the service listens where only this machine reaches it."""
        name = self.host.rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            return ip_address(name).is_loopback
        except ValueError:
            # A name can mean any address, and another one tomorrow.
            return False

    @property
    def authenticated(self) -> bool:
        """Whether requests take an API key."""
        return self.auth == "on" or (self.auth == "auto" and not self.on_loopback)

    @property
    def sqlalchemy_url(self) -> str:
        """The store's address, with the default filled in."""
        return self.store_url or f"sqlite:///{self.home.store}"
