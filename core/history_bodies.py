"""Bodies of the route of recent history: traffic over time, and what happened meanwhile."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from core.schemas import Wire

EventKind = Literal[
    "promote", "rollback", "challenge", "withdraw", "approve", "refuse", "failed", "rolled_back", "run", "alarm"
]


class TrafficPoint(Wire):
    """A stretch of time, over all replicas."""

    at: datetime = Field(description="When it began.")
    texts_per_s: float
    refused_per_s: float = Field(description="Requests refused for want of room, time or a model.")
    failed_per_s: float = Field(description="Requests that ended in an unforeseen error (500).")
    p50_s: float | None = Field(
        description="Half of the texts took as long at most, queue included; null where none was asked."
    )
    p99_s: float | None = Field(description="99 of 100 took as long at most.")


class HistoryEvent(Wire):
    """Something that happened."""

    at: datetime
    kind: EventKind = Field(
        description="`promote`, `rollback`, `challenge`, `withdraw`: a version was moved; `approve`, `refuse`: a "
        "person signed for one; `failed`: a replica could not take "
        "one; `rolled_back`: probation took one back; `run`: a run ended; `alarm`: drift was seen."
    )
    subject: str = Field(description="The version; the run, with `run`; the detectors, with `alarm`.")
    outcome: str | None = Field(None, description="State in which a run ended.")
    why: str | None = None


class HistoryAnswer(Wire):
    """Answer of ``GET /v1/history``."""

    started_at: datetime = Field(description="What is older is not told.")
    ended_at: datetime
    step_s: float = Field(description="Length of a point's stretch of time.")
    traffic: list[TrafficPoint] = Field(description="Oldest first, at most 240; a stretch no replica spoke of is left out.")
    events: list[HistoryEvent] = Field(description="Newest first, at most 200.")
