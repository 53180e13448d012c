"""Bodies of the routes of quality: annotators, what is held back and why, live accuracy, review."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from core.drift_bodies import AccuracyGuess
from core.schemas import CorrectionAnswer, ShortString, Wire

SuspicionState = Literal["quarantined", "released", "upheld"]
Stratum = Literal["audit", "suspect", "uncertain"]


class Reason(Wire):
    """Why a correction is held back."""

    rule: str = Field(description="Name of the rule; stable.")
    value: float
    limit: float
    why: str


class SuspicionAnswer(Wire):
    """A correction that is held back, or was."""

    correction: CorrectionAnswer
    state: SuspicionState = Field(
        description="`quarantined`: held back by the rules; `released`: a person let it through; `upheld`: a person refused it."
    )
    reasons: list[Reason]
    model_version: str | None = Field(description="A version that had not learned from it, and what it said:")
    model_label: str | None
    model_score: float | None
    decided_by: str | None
    decided_why: str | None
    created_at: datetime
    decided_at: datetime | None


class SuspicionsAnswer(Wire):
    """Answer of ``GET /v1/quarantine``, newest corrections first."""

    suspicions: list[SuspicionAnswer]
    total: int = Field(description="How many there are in this state.")
    next_before: str | None = Field(description="Pass as `before` for the next page; null on the last.")


class SuspicionDecision(Wire):
    """Body of ``POST /v1/quarantine/{correction_id}``."""

    decision: Literal["release", "uphold"] = Field(
        description="`release`: the next run learns from it, whatever the rules say; `uphold`: none ever does."
    )
    by: ShortString = Field("http", description="Who decides; kept.")
    why: ShortString = Field("by hand", description="Why; kept.")


class ReleaseRequest(Wire):
    """Body of ``POST /v1/quarantine``: one decision on all that is quarantined of one annotator."""

    annotator: str | None = Field(description="Whose; null: those that came without a name.")
    decision: Literal["release", "uphold"]
    by: ShortString = Field("http", description="Who decides; kept.")
    why: ShortString = Field("by hand", description="Why; kept.")


class ReleaseAnswer(Wire):
    """How many corrections a decision was about."""

    corrections: int


class AnnotatorAnswer(Wire):
    """How far one annotator is to be relied on."""

    annotator: str | None = Field(description="Null: those who gave no name, counted as one.")
    votes: int = Field(description="Texts they said something of.")
    judged: int = Field(description="Of these, how many others spoke of too, or the holdout knows.")
    accuracy: float = Field(description="Expected share of right votes; 0.8 before any is judged.")
    low: float = Field(description="With a probability of 90% the share lies between this")
    high: float = Field(description="and this.")
    alpha: float | None = Field(description="Krippendorff's alpha of the pairs of votes of which one is theirs.")
    quarantined: int = Field(description="How many of their corrections are held back now.")
    contrary: bool = Field(
        False, description="On what the audit drew they differ from the model, and others do not; judged by that."
    )


class AnnotatorsAnswer(Wire):
    """Answer of ``GET /v1/annotators``: the most reliable first."""

    annotators: list[AnnotatorAnswer]
    alpha: float | None = Field(description="Krippendorff's alpha of all votes; null where no text has two.")
    alpha_by_label: dict[str, float | None] = Field(description="Of the question whether it is this label or another one.")
    shared_texts: int = Field(description="Texts with more than one annotator.")


class ClassAccuracy(Wire):
    """Of audited texts whose right label is this one, the share that was answered so, with its 95% interval."""

    label: str
    accuracy: float
    low: float
    high: float
    judged: int


class NaiveAccuracy(Wire):
    """Right and wrong among all predictions people said something of; they look at what is wrong, so it is biased."""

    right: int
    wrong: int
    accuracy: float


class AccuracyAnswer(Wire):
    """Live accuracy of one version, by a random sample of its predictions that people judged, and two other ways beside it."""

    version: str
    accuracy: float | None = Field(description="Null before anything was judged.")
    low: float | None = Field(description="In 95 of 100 such samples the true share lies between this")
    high: float | None = Field(description="and this.")
    judged: int = Field(description="Predictions of the sample that were judged.")
    waiting: int = Field(description="Predictions of the sample that wait in the review queue.")
    effective: float = Field(description="What the judged ones are worth, of equally probable ones.")
    classes: list[ClassAccuracy] = Field(default=[], description="By the right label, the most often judged first.")
    naive: NaiveAccuracy | None = Field(None, description="By all corrections and confirmations; biased.")
    estimated: AccuracyGuess | None = Field(None, description="Guessed without labels, for the newest window of answers.")
    gap: float | None = Field(None, description="Guessed less audited; large where what is right for a text has changed.")


class AccuraciesAnswer(Wire):
    """Answer of ``GET /v1/accuracy``: versions of which something is known, the newest audited first."""

    versions: list[AccuracyAnswer]


class ReviewItem(Wire):
    """One text to look at."""

    item_id: str
    stratum: Stratum = Field(description="Why it is asked: `audit`: chance; `suspect`: a correction; `uncertain`: the model.")
    text: str
    predicted_label: str | None = Field(description="The model's guess; null in the audit, where it must not lead anybody.")
    model_version: str | None
    leased_until: datetime = Field(description="Until then nobody else is asked.")
    reasons: list[Reason] = Field([], description="Why a correction is doubted, with `suspect`; none names its label.")


class ReviewAnswer(Wire):
    """Answer of ``GET /v1/review``."""

    items: list[ReviewItem]
    open: dict[Stratum, int] = Field(description="Items that wait, by why.")


class ReviewRequest(Wire):
    """Body of ``POST /v1/review/{item_id}``."""

    action: Literal["label", "skip", "undo"] = Field(
        "label", description="`label` says what is right, `skip` leaves it to others, `undo` takes one's own answer back."
    )
    label: ShortString | None = Field(None, description="The right label, with `label`.")
    annotator: ShortString = Field(description="Who answers; the one it was handed out to.")
    confidence: float | None = Field(None, ge=0.0, le=1.0, description="How sure they are.")


class ReviewedAnswer(Wire):
    """What became of a review item."""

    item_id: str
    state: Literal["open", "done"]
    correction: CorrectionAnswer | None = Field(description="What was kept, with `label`.")
