"""What travels: request and answer bodies of the native routes, and the records rooms hand to each other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue

from core.finetuning import Preset

Source = Literal["head", "full", "memory"]
CorrectionKind = Literal["correction", "confirmation"]
RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
TextKept = Literal["full", "redacted", "hash", "none"]
Trigger = Literal["manual", "count", "schedule", "drift"]
FitSpeed = Literal["head", "full"]
RunSpeed = Literal["head", "full", "auto"]
ScoreFunction = Literal["softmax", "sigmoid", "none"]
Truncation = Literal["right", "left", "refuse"]
LongText = Literal["truncate", "chunk"]
LIVE_STATES: tuple[RunState, ...] = ("queued", "running")

SUBJECT = (
    "The person the text is about, by a key of the caller's; kept as a pseudonym. Erasing and exporting go by it. The header "
    "`X-Hone-Subject` says the same where a body has no such field."
)
ShortString = Annotated[str, Field(min_length=1, max_length=200)]


def now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


class Wire(BaseModel):
    """A body on the wire: unknown fields are refused, so that a misspelt option is not silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class PredictRequest(Wire):
    """Body of ``POST /v1/predict``: exactly one of ``text`` and ``texts``."""

    text: str | None = Field(None, description="One text; the answer is one prediction.")
    # One wrong element is enough: collecting a million errors from one body would hold up every other caller for seconds.
    texts: Annotated[list[str], Field(fail_fast=True)] | None = Field(
        None, description="Several texts; the answer lists predictions in the same order."
    )
    top_k: int | None = Field(None, ge=1, le=10_000, description="How many labels to score, best first; absent scores all.")
    function_to_apply: ScoreFunction = Field(
        "softmax",
        description="What is shown of the calibrated logits: `softmax` makes them probabilities that sum to 1, `sigmoid` each "
        "one a number between 0 and 1 by itself, `none` leaves them.",
    )
    truncation: Truncation = Field(
        "right",
        description="Where a text with more tokens than the encoder reads is cut: its end (`right`), its beginning (`left`), "
        "or nowhere: `refuse` answers 422 `text_too_long`. N-grams are always those of the whole text.",
    )
    long_text: LongText = Field(
        "truncate",
        description="`chunk` reads such a text in windows that overlap, cuts nothing, and averages their probabilities, "
        "weighted by tokens; `truncation` then has nothing to do.",
    )
    min_score: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Where the calibrated probability of the best label is lower, the answer says `abstained`; it is the "
        "probability that counts, whatever `function_to_apply` shows.",
    )
    explain: bool = Field(
        False, description="Say how much each word moved the score of `label`; for a few texts, and not with `chunk`."
    )
    metadata: dict[ShortString, JsonValue] | None = Field(None, description="Kept with the prediction, never interpreted.")
    subject: ShortString | None = Field(None, description=SUBJECT)


class LabelScore(Wire):
    """One label and its score."""

    label: str
    score: FiniteFloat = Field(description="Between 0 and 1; with `function_to_apply` `none` any number, a calibrated logit.")


class AttributionAnswer(Wire):
    """One part of the text and what the score of the label owes to it."""

    start: int = Field(ge=0, description="Where the part begins, in Unicode code points of the text as it was sent.")
    end: int = Field(ge=0, description="Where it ends; the character there is no longer part of it.")
    text: str = Field(description="The part itself, for languages that count characters otherwise.")
    attribution: FiniteFloat = Field(description="Positive: the part speaks for `label`; negative: against it.")


class ExplanationAnswer(Wire):
    """Why `label` got `score`: Shapley values of the text's parts, which sum to `score - baseline_score`."""

    method: Literal["shapley", "shapley_sampled"] = Field(
        description="`shapley`: exact, over all subsets of the parts; `shapley_sampled`: over permutations and their reverses."
    )
    source: str = Field(description="Where the method is published.")
    label: str
    score: FiniteFloat = Field(description="As in the answer.")
    baseline_score: FiniteFloat = Field(description="The score of `label` with every part taken out: that of the empty text.")
    evaluations: int = Field(ge=0, description="How many shortened texts were scored for it.")
    attributions: list[AttributionAnswer] = Field(
        description="In the order of the text. A part is a word, or a character in scripts without spaces, or a run of these."
    )


class MemoryAnswer(Wire):
    """Why the memory answered rather than the version."""

    correction_id: str = Field(description="The correction that said so.")
    match: Literal["exact", "near"] = Field(description="`exact`: of this very text; `near`: of one that means the same.")
    similarity: FiniteFloat = Field(description="Cosine similarity of the two texts' embeddings; 1 for the text itself.")


class PredictionAnswer(Wire):
    """One answered text."""

    prediction_id: str = Field(description="Name this in a correction.")
    label: str = Field(description="The best guess, also where the answer abstains.")
    score: FiniteFloat = Field(
        description="Of `label`: its calibrated probability, or what `function_to_apply` shows; with `none` any number."
    )
    scores: list[LabelScore] = Field(description="Labels, the most probable first: all, or the best `top_k`.")
    model_version: str
    source: Source = Field(description="Which speed of learning answered.")
    truncated: bool = Field(description="The text had more tokens than the encoder reads; the rest was ignored.")
    abstained: bool = Field(description="The probability of `label` is below the request's `min_score`: better ask a person.")
    windows: int = Field(ge=1, description="In how many windows the text was read; 1 unless it is long and `chunk` is on.")
    explanation: ExplanationAnswer | None = Field(
        None, description="Why `label` got its score, where `explain` is on and the version answered itself."
    )
    memory: MemoryAnswer | None = Field(None, description="Which correction answered; only where `source` is `memory`.")


class PredictionsAnswer(Wire):
    """Answer to several texts; all come from the one version it names."""

    model_version: str
    predictions: list[PredictionAnswer]


class CorrectionRequest(Wire):
    """Body of ``POST /v1/corrections``: ``prediction_id``, or ``text``, or where the prediction's text is not kept both.

    ``label`` is the right label. With a ``prediction_id`` whose prediction already has that label it is a confirmation.
    """

    prediction_id: ShortString | None = Field(None, description="The prediction that is corrected or confirmed.")
    text: str | None = Field(None, description="The text, where no prediction is at hand or its text is not kept.")
    label: ShortString = Field(description="The right label.")
    annotator: ShortString | None = Field(None, description="Who says so.")
    confidence: float | None = Field(None, ge=0.0, le=1.0, description="How sure they are.")
    metadata: dict[ShortString, JsonValue] | None = Field(None, description="Kept with the correction, never interpreted.")
    subject: ShortString | None = Field(None, description=SUBJECT)


class CorrectionAnswer(Wire):
    """A correction as it stands in the store."""

    correction_id: str
    kind: CorrectionKind
    label: str
    predicted_label: str | None = Field(description="What the model had said; null where no prediction was named.")
    prediction_id: str | None
    model_version: str | None = Field(description="The version that had answered.")
    annotator: str | None
    confidence: float | None
    created_at: datetime
    used_by: list[str] = Field(default_factory=list, description="Versions that learned from it.")
    withdrawn: bool = Field(False, description="It was taken back or changed, and later runs do not learn from it.")
    replaced_by: str | None = Field(None, description="The correction that it was changed to.")
    replaces: str | None = Field(None, description="The correction that was changed to this one.")
    proposed: bool = Field(False, description="Its label is not in the label set yet; it counts once it is.")


class CorrectionsAnswer(Wire):
    """Answer of ``GET /v1/corrections``, newest first."""

    corrections: list[CorrectionAnswer]
    next_before: str | None = Field(description="Pass as `before` for the next page; null on the last.")


class PredictionRecord(BaseModel):
    """A prediction as the store keeps it."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    prediction_id: str
    created_at: datetime
    text: str
    text_key: str
    label: str
    score: float
    model_version: str
    source: Source
    metadata: dict[str, Any] | None = None
    # A pseudonym, never the caller's own key.
    subject: str | None = None
    text_kept: TextKept = Field("full", description="What is kept of the text; with `hash` and `none` it is empty.")
    sample_ratio: float = Field(1.0, description="The chance it had of being kept; it stands for one over this many.")
    model_label: str | None = Field(None, description="What the version itself had said, where the memory answered.")
    model_score: float | None = Field(None, description="The probability that it gave that label.")


class CurvePoint(Wire):
    """A moment of training."""

    progress_ratio: float = Field(ge=0.0, le=1.0, description="How far the run was.")
    loss: FiniteFloat = Field(description="Of the batch at hand.")
    examples_per_s: FiniteFloat | None = None


class RunAnswer(Wire):
    """One attempt to learn."""

    run_id: str
    state: RunState
    speed: RunSpeed = Field(description="What was asked for.")
    trigger: Trigger
    note: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    stage: str | None = Field(description="What it is doing, or did last.")
    progress_ratio: float = Field(ge=0.0, le=1.0)
    remaining_s: float | None
    metrics: dict[str, float]
    snapshot: str | None = Field(description="Hash of the examples it saw.")
    version: str | None = Field(description="The version it registered.")
    promoted: bool | None = Field(description="Whether it became champion; of a run that succeeded null: a person has to sign.")
    error: str | None
    chosen: FitSpeed | None = Field(None, description="What was trained; with `auto` null until that is decided.")
    why: str | None = Field(None, description="Why this speed, or this outcome.")
    curve: list[CurvePoint] = Field(
        default_factory=list, description="How the loss fell, at most 200 points; empty in lists of runs."
    )
    preset: Preset | None = Field(None, description="How it was asked to train the encoder; null: as the settings say.")
    finetune: dict[str, JsonValue] | None = Field(None, description="What it was asked to do otherwise than that.")
    resumes: str | None = Field(None, description="The run it goes on from.")
    repeats: str | None = Field(None, description="The run it does again.")


class Outlook(Wire):
    """When the learner will learn next by itself, and what holds it back."""

    at: datetime = Field(description="When the learner said so; an old moment means that none is at work.")
    trigger: Trigger | None = Field(None, description="What starts the next run; null while nothing is due or foreseen.")
    due_at: datetime | None = Field(None, description="The earliest moment it starts; null while that is not known.")
    held_by: Literal["quiet_hours", "back_off", "budget"] | None = Field(None, description="What holds back a run that is due.")
    why: str = Field(description="The same as a sentence.")


class RunsAnswer(Wire):
    """Answer of ``GET /v1/runs``, newest first."""

    runs: list[RunAnswer]


class ErrorAnswer(Wire):
    """The one shape of every error.

    ``error`` is a sentence at the top level because the Hugging Face, TEI and Open Inference clients all show that key.
    """

    error: str = Field(description="What was wrong, what was got, what is allowed.")
    code: str = Field(description="Stable; see docs/errors.md.")
    details: dict[str, JsonValue] = Field(default_factory=dict)
    request_id: str
