"""Bodies of the operating routes; the native ones of the loop are in ``core.schemas``."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from core.bundle import Features, Lineage, NgramSpec, Parity, Variant, Vocabulary
from core.engines import EngineChoice
from core.gate import GateDecision
from core.rollouts import RolloutRecord
from core.schemas import RunAnswer, ShortString, Source, Wire
from core.text import TextSettings
from serve.rollout_answers import ChallengerStatus, ProbationStatus


class Verdict(Wire):
    """What the gate said, in short."""

    promote: bool
    summary: str


class ModelSummary(Wire):
    """One version in the list; what cannot be read of it is null, and ``problem`` says why."""

    version: str
    aliases: list[str] = Field(description="`champion`, `previous`, `challenger`, as far as they name it.")
    created_at: datetime | None = None
    speed: Source | None = None
    features: Features | None = None
    parent: str | None = Field(None, description="The version it was trained from.")
    labels: int | None = Field(None, description="How many labels it knows.")
    metrics: dict[str, float] = Field(default_factory=dict)
    gate: Verdict | None = None
    problem: str | None = None


class ModelsAnswer(Wire):
    """Answer of ``GET /v1/models``, newest first."""

    models: list[ModelSummary]


class EncoderSummary(Wire):
    """The encoder of a version."""

    base: str
    hidden: int
    max_tokens: int
    serving: Variant = Field(description="The engine variant that answers.")
    vocabulary: Vocabulary | None


class ModelAnswer(Wire):
    """Answer of ``GET /v1/models/{version}``."""

    version: str
    aliases: list[str]
    created_at: datetime
    labels: list[str]
    features: Features
    encoder: EncoderSummary | None
    ngrams: NgramSpec | None
    text: TextSettings = Field(description="How text is cleaned before it is read.")
    temperature: float
    metrics: dict[str, float]
    parity: Parity | None
    lineage: Lineage
    decision: GateDecision | None = Field(description="What the gate said, rule by rule; null where it was not asked.")
    card: str | None = Field(description="The model card, Markdown.")
    rollouts: list[RolloutRecord] = Field(description="What became of it in the replicas, newest first, at most 50.")


class ServingAnswer(Wire):
    """Answer of ``GET /v1/model``: what answers in this replica, and by which engine."""

    version: str
    source: Source
    labels: int = Field(description="How many labels it knows.")
    features: Features
    max_tokens: int | None = Field(description="Longer texts are cut here; null for n-grams alone.")
    engine: EngineChoice | None = Field(description="What runs the encoder on this machine, and why; null without an encoder.")
    parity: Parity | None
    batch_max_texts: int
    batch_max_tokens: int


class AliasesAnswer(Wire):
    """Which version plays which part now."""

    champion: str | None
    previous: str | None
    challenger: str | None


class MoveRequest(Wire):
    """Body of ``POST /v1/rollback``."""

    by: ShortString = Field("http", description="Who moves it; kept in the history.")
    why: ShortString = Field("by hand", description="Why; kept in the history.")


class PromoteRequest(MoveRequest):
    """Body of ``POST /v1/models/{version}/promote`` and ``…/challenge``."""

    override: bool = Field(False, description="Although the gate refused.")


class Rollout(Wire):
    """A champion this replica could not take; the version before keeps answering."""

    version: str
    reason: str
    attempts: int


class ReplicaStatus(Wire):
    """What a replica said of itself in its last heartbeat."""

    replica_id: str
    state: Literal["starting", "loading", "serving", "failed"]
    model_version: str | None = Field(description="What it answers with.")
    candidate_version: str | None = Field(description="What it loads, or could not take.")
    reason: str | None
    seen_at: datetime | None


class LiveAccuracy(Wire):
    """How often people found a version right; biased to what people look at."""

    version: str
    right: int
    wrong: int
    accuracy: float


class PredictionCounts(Wire):
    """What became of the records of this replica's predictions since it started."""

    written: int = 0
    spooled: int = 0
    dropped: int = 0


class StatusAnswer(Wire):
    """Answer of ``GET /v1/status`` by one replica; what only the store knows is null while it is away."""

    replica_id: str = Field(description="The replica that answers.")
    started_at: datetime
    ingress: str = Field(description="What stands before the replicas: `haproxy` or `proxy`.")
    model_version: str | None
    source: Source | None
    labels: list[str]
    loading: str | None = Field(description="The version it is loading.")
    rollout_failure: Rollout | None
    probation: ProbationStatus | None = Field(description="The new version while it is watched; docs/rollout.md.")
    challenger: ChallengerStatus | None = Field(description="The challenger while it answers a share, or looks on.")
    rollouts: list[RolloutRecord] = Field(description="What became of versions in all replicas, newest first, at most 20.")
    waiting_texts: int
    queue_max_texts: int
    predictions: PredictionCounts
    store_up: bool
    replicas: list[ReplicaStatus]
    corrections: int | None
    confirmations: int | None
    last_run: RunAnswer | None
    live_accuracy: list[LiveAccuracy]
