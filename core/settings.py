"""Every setting of Hone, read once at an entry point (``Settings()``) and passed down.

Each is an environment variable ``HONE_<NAME>``. The table in the README is generated from the descriptions here
(``python -m deploy.reference``), and a test fails when the two differ.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import platformdirs
from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import InputError
from core.finetuning import FinetuneSettings, FinetuneWish, Preset, finetuning, parse_changes, split_changes
from core.home import Home
from core.memory import MemoryTrust
from core.schemas import FitSpeed, RunSpeed, TextKept
from core.slo import Objectives, check_latency

if TYPE_CHECKING:
    from core.redaction import Redactor

Speed = FitSpeed
# The first parts of routes, which a classifier's name would hide.
RESERVED_NAMES = frozenset({"v1", "v2", "hf", "predict", "info", "health", "healthz", "readyz", "metrics", "docs", "console"})
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
        "",
        repr=False,
        description="SQLAlchemy address of the feedback store; `{name}` in it stands for `HONE_NAME`. Empty is SQLite in the "
        "state folder.",
    )
    bundles_url: str = Field(
        "",
        description="Object store that all nodes share versions and aliases by, such as `s3://bucket/prefix`; takes the extra "
        "`s3`, and credentials from the environment. Empty: the state folder alone.",
    )
    bundles_endpoint: str = Field(
        "", description="Address of an S3-compatible store other than AWS's, such as `https://minio:9000`."
    )
    bundles_cache: str = Field(
        "",
        description="Folder of this node for the bundles it pulls from there, which each node may set for itself; empty is the "
        "state folder's.",
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
    learn_cron: str = Field(
        "", description="When runs start, as a cron expression such as `0 3 * * 1-5`; empty: no such schedule."
    )
    learn_quiet_hours: str = Field(
        "", description="Hours in which no run starts by itself, such as `08:00-18:00`, several with commas; empty: none."
    )
    learn_time_zone: str = Field("UTC", description="Time zone of the three: cron expression, quiet hours, and a day's budget.")
    learn_budget_per_day_s: float = Field(
        0.0, ge=0, description="Seconds of training a day; a run that would take more waits, or refits the head. 0: no limit."
    )
    learn_back_off_s: float = Field(
        60.0,
        ge=0,
        description="Seconds to wait after a run that failed or changed nothing, doubled by each further one; 0: none.",
    )
    learn_back_off_max_s: float = Field(21_600.0, ge=0, description="Most seconds of such a wait.")
    learn_speed: RunSpeed = Field(
        "auto",
        description="What a triggered run refits: `head`, `full` with the encoder, or `auto`, the encoder only where it pays.",
    )
    learn_preset: Preset = Field(
        "balanced", description="How full runs train the encoder, unless one asks for another preset: see docs/finetuning.md."
    )
    learn_finetune: str = Field(
        "", description="What differs from that preset, as `name=value` with commas, such as `epochs=5,layer_decay=0.9`."
    )
    learn_replay_ratio: Ratio = Field(
        1.0, description="Share of the rows learned before that each epoch of a full run sees again, beside all corrections."
    )
    learn_checkpoint_every_s: float = Field(
        120.0, ge=0, description="Seconds between checkpoints of a full run; 0 writes one only when the run is stopped or ends."
    )
    learn_workers: int = Field(
        1, ge=1, le=1024, description="Ray Train workers that an encoder is trained over, each with a share of every batch."
    )
    learn_workers_min: int = Field(
        0,
        ge=0,
        le=1024,
        description="Workers with which training begins, or goes on, where there is no room for all of them. 0: with all only.",
    )
    learn_worker_cpus: float = Field(1.0, gt=0, description="Cores that Ray reserves for each of several workers.")
    learn_worker_gpus: float = Field(
        0.0, ge=0, description="GPUs that Ray reserves for each of several workers; 0 trains on the processor."
    )
    learn_worker_restarts: int = Field(
        3, ge=0, description="How often training goes on from its last checkpoint after one of several workers was lost."
    )
    learn_sharded: bool = Field(
        False, description="Workers share out the encoder's weights too (FSDP), for one that does not fit each of them."
    )
    learn_nice: int = Field(
        19,
        ge=0,
        le=19,
        description="Niceness of training, so that it gives way to serving; 19 takes only what nobody else wants. "
        "The seconds of a head have 10 at most.",
    )
    label_min_texts: int = Field(
        5, ge=0, description="Different texts that take a proposed label into the set; 0: only an operator does."
    )
    label_min_annotators: int = Field(
        2, ge=1, description="Different named annotators who must have said so of them; who gives no name backs nothing."
    )
    memory_entries: int = Field(
        10_000,
        ge=0,
        le=200_000,
        description="Corrected texts that each replica answers from memory until a version has learned them; beyond it the "
        "oldest leave. 0: no memory.",
    )
    memory_trust: MemoryTrust = Field(
        "at_once",
        description="Which corrections the memory answers with: `at_once` those that pass a first look, `screened` only those "
        "that the learner has looked at with all its rules.",
    )
    memory_poll_s: float = Field(
        0.25, gt=0, le=60, description="Seconds between looks for what other replicas and the learner have done to corrections."
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

    drift_window_rows: int = Field(
        500, ge=0, le=10_000, description="Predictions that make a window, which is compared for drift; 0: none are."
    )
    learn_on_drift: bool = Field(
        True, description="A drift alarm starts a run, once there are corrections that no run has seen."
    )
    drift_alpha: float = Field(
        0.01, gt=0, lt=0.5, description="Chance that a window without drift raises an alarm, all detectors together."
    )
    drift_estimator: Literal["cbpe", "doc", "atc"] = Field(
        "cbpe",
        description="How accuracy is guessed without labels: `cbpe` by mean confidence, `doc` by how far it fell, "
        "`atc` by the share above a threshold; docs/drift.md says how to choose.",
    )

    gate_mode: Literal["auto", "approve"] = Field(
        "auto",
        description="Who promotes a candidate that passes: `auto` the gate itself, `approve` a person, who signs for it.",
    )
    gate_min_rows: int = Field(50, ge=1, description="Fewest holdout rows on which a candidate may be judged.")
    gate_min_gain_ratio: Ratio = Field(
        0.0,
        description="Least gain in accuracy that is worth a swap, on the holdout, recent traffic or new labels; 0: any that "
        "is certain.",
    )
    gate_min_new_class_ratio: Ratio = Field(
        0.5, description="Recall that a label the champion does not know must not surely fall short of, on its own rows."
    )
    gate_alpha: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Chance that a candidate which is no better is promoted, over all looks at the same rows.",
    )
    gate_max_loss_ratio: Ratio = Field(0.005, description="Most accuracy a candidate may lose on the holdout.")
    gate_max_sure_loss_ratio: Ratio = Field(
        0.02,
        description="Loss that rows drawn by chance must rule out, with 99.9% certainty, where only corrections speak for it.",
    )
    gate_max_forgetting_ratio: Ratio = Field(
        0.05,
        description="Most it may lose there where recent traffic is 95% certain to gain more than the holdout may lose; and "
        "most that may be forgotten, with 95% certainty, of what the best version that served was right about.",
    )
    gate_max_class_loss_ratio: Ratio = Field(
        0.10, description="Most recall one class, or accuracy one slice, may lose when the loss is significant."
    )
    gate_max_negative_flip_ratio: Ratio = Field(0.05, description="Most holdout rows that may turn from right to wrong.")
    gate_min_parity_ratio: Ratio = Field(0.99, description="Least agreement of the exported engine with torch.")
    gate_max_calibration_loss_ratio: Ratio = Field(0.05, description="Most by which the expected calibration error may rise.")
    gate_max_growth: float = Field(2.0, ge=1, description="Most times the champion's size, and its time to answer.")

    card_intended_use: str = Field(
        "", description="What model cards give as the intended use; empty: what holds of every version."
    )
    card_watts: float = Field(
        0.0, ge=0, description="Power drawn while a version is made, for the energy on model cards; 0: not told."
    )
    card_grams_per_kwh: float = Field(
        0.0, ge=0, description="CO2 equivalents of a kilowatt-hour here, for the carbon on model cards; 0: not told."
    )

    @model_validator(mode="after")
    def _is_told_apart(self) -> Settings:
        if self.name in RESERVED_NAMES:
            raise ValueError(f"HONE_NAME must not be {self.name}: routes begin like that")
        if self.name and self.store_url and "{name}" not in self.store_url:
            raise ValueError("HONE_STORE_URL must hold {name} where HONE_NAME is set, or classifiers would share a store")
        return self

    @model_validator(mode="after")
    def _can_keep_time(self) -> Settings:
        from core.timetable import Cron, QuietHours, zone_of

        zone = zone_of(self.learn_time_zone)
        Cron.parse(self.learn_cron, zone)
        QuietHours.parse(self.learn_quiet_hours, zone)
        return self

    @model_validator(mode="after")
    def _can_finetune(self) -> Settings:
        try:
            self.finetuning(FinetuneWish())
        except InputError as error:
            raise ValueError(error.message) from error
        return self

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
    def objectives(self) -> Objectives:
        """What is promised of answers."""
        return Objectives(self.slo_availability_ratio, self.slo_latency_s, self.slo_latency_ratio)

    @property
    def home(self) -> Home:
        """The layout of the state folder."""
        return Home(self.base_dir / self.name)

    @property
    def base_dir(self) -> Path:
        """The folder in which the state folder is, of one classifier or of several that have names."""
        return self.home_dir.expanduser().resolve()

    @property
    def route_prefix(self) -> str:
        """What all routes begin with; empty where the classifier has no name."""
        return f"/{self.name}" if self.name else ""

    @property
    def app_name(self) -> str:
        """What Ray Serve calls the application."""
        return f"hone-{self.name}" if self.name else "hone"

    @property
    def bundles_address(self) -> str:
        """Where this classifier's versions are in the object store; empty where there is none."""
        return f"{self.bundles_url.rstrip('/')}{self.route_prefix}" if self.bundles_url else ""

    def finetuning(self, wish: FinetuneWish) -> FinetuneSettings:
        """Return how a run trains the encoder that is asked for with ``wish``.

        Raises:
            InputError: naming each setting of fine-tuning that there is not, or that cannot have its value.
        """
        usual = {} if wish.preset else parse_changes(split_changes(self.learn_finetune))
        changes = {"replay_ratio": self.learn_replay_ratio, **usual, **wish.changes}
        return finetuning(wish.preset or self.learn_preset, changes)

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
        where = f"[{host}]" if ":" in host else host
        return f"http://{where}:{self.port}{self.route_prefix}"

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
        return self.store_url.replace("{name}", self.name) or f"sqlite:///{self.home.store}"
