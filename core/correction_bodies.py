"""What travels about corrections beside a single one: taking back, changing, confirming, and many at a time."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from core.schemas import CorrectionKind, CorrectionRequest, ShortString, Wire


class WithdrawalRequest(Wire):
    """Body of ``POST /v1/corrections/{correction_id}/withdraw``."""

    annotator: ShortString | None = Field(None, description="Who takes it back.")
    why: str | None = Field(None, min_length=1, max_length=500, description="Why; kept with the withdrawal.")


class ChangeRequest(Wire):
    """Body of ``POST /v1/corrections/{correction_id}/change``: what is right instead, of the same text."""

    label: ShortString = Field(description="The right label.")
    annotator: ShortString | None = Field(None, description="Who says so; absent: whoever said what is changed.")
    confidence: float | None = Field(None, ge=0.0, le=1.0, description="How sure they are.")
    metadata: dict[ShortString, JsonValue] | None = Field(None, description="Kept with the correction, never interpreted.")
    why: str | None = Field(None, min_length=1, max_length=500, description="Why; kept with what is changed.")


class ConfirmationRequest(Wire):
    """Body of ``POST /v1/confirmations``: the label of the prediction was right."""

    prediction_id: ShortString = Field(description="The prediction that was right.")
    annotator: ShortString | None = Field(None, description="Who says so.")
    confidence: float | None = Field(None, ge=0.0, le=1.0, description="How sure they are.")
    metadata: dict[ShortString, JsonValue] | None = Field(None, description="Kept with the confirmation, never interpreted.")


class CorrectionRow(CorrectionRequest):
    """One line of ``POST /v1/corrections/bulk``: a correction, and a key of its own where it has one."""

    key: str | None = Field(
        None,
        pattern=r"^[\x21-\x7e]{1,200}$",
        description="As the Idempotency-Key of a single correction; absent: the request's, with the row's number.",
    )


class RowReport(Wire):
    """One line of the answer: what became of the row of that number, the first being 1."""

    row: int = Field(description="The line of the body, blank ones counted.")
    status: Literal["kept", "repeated", "refused"] = Field(
        description="`kept`: on disk now; `repeated`: it was, under this key; `refused`: `code` says why, and nothing was kept."
    )
    correction_id: str | None = None
    kind: CorrectionKind | None = None
    proposed: bool | None = Field(None, description="Its label is not in the label set yet.")
    code: str | None = Field(None, description="As in every error; see docs/errors.md.")
    error: str | None = None
    details: dict[str, JsonValue] | None = None


class BulkSummary(Wire):
    """The last line of the answer; without it the answer broke off."""

    rows: int = Field(description="Lines that were not blank.")
    kept: int
    repeated: int
    refused: int


class BulkAnswer(Wire):
    """What ``POST /v1/corrections/bulk`` answers, gathered: a report for each row, in order, and their sums."""

    reports: list[RowReport]
    summary: BulkSummary
