"""Bodies of the operating routes; the native ones of the loop are in ``core.schemas``."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from core.bundle import Features, Lineage, NgramSpec, Parity, Variant, Vocabulary
from core.engines import EngineChoice
from core.gate import GateDecision
from core.moves import Move, Standing
from core.rollouts import RolloutRecord
from core.schemas import Outlook, RunAnswer, ShortString, Source, Wire
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
    standing: Standing | None = Field(None, description="Where a person has to sign for it, or did; null where not.")
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


class Signature(Wire):
    """A person's word on a version: a signature, or an override of the gate."""

    at: datetime
    action: Literal["approve", "refuse", "promote", "challenge"] = Field(description="The last two: by override.")
    by: str
    reason: str
    decision_hash: str | None = Field(description="SHA-256 of the decision that was seen.")
    champion: str | None = Field(description="Who was champion, or challenger, before.")
    stale: bool = Field(description="The version had been compared with another champion, and who signed knew.")

    @classmethod
    def of(cls, move: Move) -> Signature:
        """Return a line of the history as it is told."""
        fields = {"reason": move.why, "decision_hash": move.seen, "champion": move.replaced}
        return cls.model_validate({**move.model_dump(include={"at", "action", "by", "stale"}), **fields})


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
    decision_hash: str | None = Field(None, description="SHA-256 of that decision as it is kept: what a person signs.")
    standing: Standing | None = Field(None, description="Where a person has to sign for it, or did; null where not.")
    signatures: list[Signature] = Field(default_factory=list, description="Who signed for it, or overrode the gate.")
    card: str | None = Field(description="The model card, Markdown.")
    rollouts: list[RolloutRecord] = Field(description="What became of it in the replicas, newest first, at most 50.")
    moves: list[Move] = Field(description="Who registered, promoted or replaced it, when and why; newest first, at most 50.")


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


class ApprovalRequest(Wire):
    """Body of ``POST /v1/models/{version}/approve``."""

    approve: bool = Field(description="`true` promotes the version, `false` refuses it.")
    reason: ShortString = Field(description="Why; kept in the history and in the audit trail.")
    by: ShortString | None = Field(None, description="Who signs, where requests take no API key; with one, its name signs.")
    seen: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="`decision_hash` of what was looked at; another one is refused."
    )
    stale: bool = Field(False, description="Although it was compared with another champion than the present one.")


class ApprovalAnswer(AliasesAnswer):
    """What was signed, and which version plays which part then."""

    version: str
    standing: Standing


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


class MemoryStatus(Wire):
    """What the replica that answers has in memory: texts that people corrected."""

    answers: int = Field(description="Texts that are answered from memory.")
    learned: int = Field(description="Texts that the version has learned; they are kept for a rollback.")
    waiting: int = Field(description="Texts of which it has to be seen first what the version says.")
    max_entries: int = Field(description="How many there may be; 0: no memory.")
    near_similarity: float | None = Field(description="From which on near texts are answered too; null: none are.")


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
    memory: MemoryStatus
    waiting_texts: int
    queue_max_texts: int
    predictions: PredictionCounts
    store_up: bool
    replicas: list[ReplicaStatus]
    corrections: int | None
    confirmations: int | None
    last_run: RunAnswer | None
    outlook: Outlook | None = Field(description="When the learner learns next, and what holds it back; null before any did.")
    live_accuracy: list[LiveAccuracy]
