"""What travels about labels: what is decided about them, and how they stand."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from core.schemas import ShortString, Wire

LabelAction = Literal["propose", "accept", "reject", "merge", "rename", "retire"]
NewLabels = Literal["refuse", "propose"]
LabelState = Literal["used", "accepted", "proposed", "rejected", "replaced", "retired"]


class LabelEventRequest(Wire):
    """Body of ``POST /v1/labels/events``: what an operator decides about a label."""

    action: Literal["accept", "reject", "merge", "rename", "retire"] = Field(
        description="`accept` takes a label into the set, proposed or not; `reject` turns a proposal down; `merge` makes it "
        "count as another one; `rename` gives it a new name; `retire` takes it and its examples out of later runs."
    )
    label: ShortString = Field(description="The label it is about.")
    into: ShortString | None = Field(None, description="With `merge` the label it counts as, with `rename` its new name.")
    by: ShortString = Field("api", description="Who decides.")
    why: str = Field("by hand", min_length=1, max_length=500, description="Why; kept with the decision.")


class LabelEvent(Wire):
    """One decision about a label as it stands in the store."""

    sequence: int
    action: LabelAction
    label: str
    into: str | None
    by: str
    why: str
    created_at: datetime


class LabelSummary(Wire):
    """How one label stands."""

    label: str
    state: LabelState = Field(
        description="`used`: the champion answers with it; `accepted`: the next run learns it; `replaced`: merged or renamed."
    )
    stands_for: str | None = Field(description="The label its examples have in the next run; null: they are left out.")
    texts: int | None = Field(description="How many different texts back a proposal; null for other labels.")
    annotators: int | None = Field(description="How many different named annotators back a proposal.")


class LabelsAnswer(Wire):
    """Answer of ``GET /v1/labels``: those of the champion first, in its order."""

    model_version: str
    labels: list[LabelSummary]
    texts_needed: int = Field(description="So many texts take a proposal into the set by themselves; 0: only an operator does.")
    annotators_needed: int


class LabelEventsAnswer(Wire):
    """Answer of ``GET /v1/labels/events``, newest first."""

    events: list[LabelEvent]
    next_before: int | None = Field(description="Pass as `before` for the next page; null on the last.")
