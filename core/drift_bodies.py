"""Bodies of the routes of drift: windows of answers, what each detector said of them, alarms, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from core.schemas import ShortString, Wire

DriftState = Literal["quiet", "known", "drift", "unknown"]
AlarmState = Literal["open", "acknowledged", "handled", "answered"]


class DriftFinding(Wire):
    """What one detector said of one window."""

    detector: str
    watches: Literal["inputs", "outputs", "errors"]
    verdict: DriftState = Field(
        description="`known`: drift of a size that somebody took note of; `unknown`: there is nothing to compare."
    )
    size: float | None = Field(description="In the detector's own unit; docs/drift.md lists them.")
    p_value: float | None = Field(description="How often chance alone gives as much; null where the detector has none.")
    limit: float | None = Field(description="Smaller p-values are drift, given all other detectors.")


class AccuracyGuess(Wire):
    """Accuracy guessed without labels, from confidences."""

    accuracy: float
    low: float = Field(description="In 95 of 100 windows the true share lies between this")
    high: float = Field(description="and this, as long as what is right for a text stays the same.")
    rows: int
    corrected: float | None = Field(
        None, description="Less what audited answers fell short of their confidences; null for few."
    )


class DriftWindow(Wire):
    """One window of answers of one version."""

    window_id: str
    model_version: str
    created_at: datetime
    started_at: datetime = Field(description="Time of its first prediction.")
    ended_at: datetime = Field(description="Time of its last.")
    rows: int = Field(description="Predictions that were looked at.")
    seen: int = Field(description="Predictions among which these were spread evenly.")
    texts: int = Field(description="How many of them have a text that may be read; without any, only outputs are watched.")
    state: DriftState
    why: str
    findings: list[DriftFinding]
    estimate: AccuracyGuess | None


class DriftAlarm(Wire):
    """One alarm: raised once, and open until a run has learned because of it or a person has taken note."""

    alarm_id: str
    created_at: datetime
    window_id: str
    model_version: str
    detectors: dict[str, float] = Field(description="Those that saw drift, with its largest size so far.")
    state: AlarmState = Field(
        description="`handled`: a run was started because of it; `answered`: a run that started for another reason learned "
        "from all there was; `acknowledged`: by a person."
    )
    decided_at: datetime | None
    decided_by: str | None
    decided_why: str | None
    run_id: str | None


class DriftReference(Wire):
    """A window that an operator made the reference of a version; without one its own held-out rows are."""

    model_version: str
    window_id: str | None
    decided_at: datetime
    decided_by: str
    decided_why: str


class ReferenceRequest(Wire):
    """Body of ``POST /v1/drift/reference``."""

    window_id: str | None = Field(
        description="The champion's window that its traffic is compared with from now on; null: its own held-out rows again."
    )
    by: ShortString = Field("http", description="Who says so; kept.")
    why: ShortString = Field("by hand", description="Why; kept.")


class DriftAnswer(Wire):
    """Answer of ``GET /v1/drift``: the newest windows and alarms, newest first."""

    state: DriftState = Field(description="Of the newest window; `unknown` before there is any.")
    why: str
    window_rows: int = Field(description="Predictions that make a window.")
    waiting_rows: int = Field(description="Predictions since the last window.")
    reference: DriftReference | None = Field(
        None, description="What the champion's windows are compared with; null: its own held-out rows."
    )
    windows: list[DriftWindow]
    alarms: list[DriftAlarm]


class AcknowledgeRequest(Wire):
    """Body of ``POST /v1/drift/alarms/{alarm_id}``."""

    by: ShortString = Field("http", description="Who takes note; kept.")
    why: ShortString = Field("by hand", description="Why; kept.")


class Moved(Wire):
    """Something whose share moved between the reference and a window."""

    name: str
    reference_ratio: float | None = Field(description="Its share in the reference; null where that does not know it.")
    window_ratio: float
    impact: float = Field(description="What it adds to the divergence of the two, in bits; the list is sorted by it.")
    confidence: float | None = Field(None, description="Mean confidence of the window's answers that have it.")


class DriftExample(Wire):
    """A text of the window that is unlike the reference."""

    prediction_id: str
    text: str
    label: str
    confidence: float
    unlikeness: float = Field(description="How much rarer its words, language and label are in the reference, in bits a word.")


class DriftWhy(Wire):
    """Answer of ``GET /v1/drift/{window_id}/why``: what moved most; texts that were erased since are not in it."""

    window: DriftWindow
    classes: list[Moved]
    words: list[Moved] = Field(description="Words that several texts have.")
    slices: list[Moved] = Field(description="Languages, lengths, and metadata that many predictions carry.")
    examples: list[DriftExample]
