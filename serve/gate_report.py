"""One decision of the gate with all that belongs to it, as JSON; ``serve.gate_page`` makes a page of it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from core.approvals import Approvals
from core.errors import NotFound
from core.gate import ClassChange, GateDecision, Looks, Mode, Reliability, Rule
from core.gate_statistics import loss_bounds
from core.moves import Standing
from core.registry import Registry
from core.schemas import Wire
from serve.answers import Signature


class Change(Wire):
    """How much of some rows the candidate answers better, with its uncertainty."""

    name: str
    rows: int
    champion_right: int
    candidate_right: int
    gain_ratio: float = Field(description="Accuracy gained; below 0 lost.")
    low_ratio: float | None = Field(description="The gain is at least this with 95% certainty; null in old decisions.")
    high_ratio: float | None = Field(description="The gain is at most this with 95% certainty.")

    @classmethod
    def of(cls, found: ClassChange) -> Change:
        """Return what became of one label, or one slice, as it is told."""
        low = high = None
        if found.better is not None and found.worse is not None and found.rows:
            least, most = loss_bounds(found.better, found.worse, found.rows)
            low, high = -most, -least
        gain = (found.candidate_right - found.champion_right) / found.rows if found.rows else 0.0
        fields = found.model_dump(include={"name", "rows", "champion_right", "candidate_right"})
        return cls(**fields, gain_ratio=gain, low_ratio=low, high_ratio=high)


class Flips(Wire):
    """The rows of the holdout by who answers them rightly."""

    both_right: int
    better: int = Field(description="Only the candidate.")
    worse: int = Field(description="Only the champion.")
    both_wrong: int


class GateReport(Wire):
    """Answer of ``GET /v1/models/{version}/gate``."""

    version: str
    made_at: datetime = Field(description="When the version was made.")
    champion: str | None = Field(description="Who it was compared with; null for a first version.")
    promote: bool
    summary: str
    mode: Mode
    standing: Standing | None
    signatures: list[Signature]
    decision_hash: str | None
    rules: list[Rule]
    flips: Flips | None
    classes: list[Change]
    new_classes: list[Change] = Field(description="Labels the champion does not know, on their own rows.")
    slices: list[Change]
    reliability: Reliability | None
    looks: Looks
    metrics: dict[str, float] = Field(description="Measured on the candidate's holdout when it was made.")


def report_of(registry: Registry, name: str) -> GateReport:
    """Return the report on a version or alias.

    Raises:
        UnknownVersion, BundleError: there is none, or its manifest or decision cannot be read.
        NotFound: the gate was never asked about it.
    """
    version = registry.resolve(name)
    decision = registry.decision(version)
    if decision is None:
        raise NotFound(f"the gate was not asked about {version}; versions that a run or hone train made have a report")
    manifest = registry.manifest(version)
    return GateReport(
        version=version,
        made_at=manifest.created_at,
        standing=registry.standing(version),
        signatures=[Signature.of(move) for move in Approvals(registry).signatures(version)],
        decision_hash=registry.decision_hash(version),
        flips=_flips(decision),
        classes=[Change.of(found) for found in decision.classes],
        new_classes=[Change.of(found) for found in decision.new_classes],
        slices=[Change.of(found) for found in decision.slices],
        metrics=manifest.metrics,
        **{name: getattr(decision, name) for name in _FROM_DECISION},
    )


_FROM_DECISION = ("champion", "promote", "summary", "mode", "rules", "reliability", "looks")


def _flips(decision: GateDecision) -> Flips | None:
    found = decision.holdout
    if found is None or found.better is None or found.worse is None:
        return None
    both = found.champion_right - found.worse
    return Flips(
        both_right=both, better=found.better, worse=found.worse, both_wrong=found.rows - both - found.better - found.worse
    )
