"""Bodies that tell how versions fare in the replica that answers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from core.schemas import Wire


class CheckStatus(Wire):
    """One check: how often it hit, how often it may, and how much evidence there is that it does so more often."""

    check: Literal["failures", "slower", "less_sure", "disagreement", "collapse"]
    hits: int
    trials: int
    limit_ratio: float = Field(description="Share of hits that is allowed.")
    evidence_ratio: float = Field(description="0 is none; from 1 on the limit is passed beyond doubt.")


class ComparisonStatus(Wire):
    """What was seen of a version beside another, since this replica began to look."""

    requests: int = Field(description="Requests it was to answer.")
    compared_texts: int = Field(description="Texts that both versions answered, off the answer path.")
    agreement_ratio: float | None = Field(description="Share of them with the same label; null before the first.")
    problem: str | None = Field(description="Why texts are not compared; null while they are.")
    checks: list[CheckStatus]


class ProbationStatus(ComparisonStatus):
    """A version that was promoted lately, watched beside the one it replaced."""

    version: str
    replaced: str = Field(description="Stands in when the engine of `version` fails, and comes back if it is rolled back.")
    until: datetime


class ChallengerStatus(ComparisonStatus):
    """The challenger as this replica has it."""

    version: str
    mode: Literal["canary", "shadow"] = Field(description="A canary answers its share; a shadow only looks on.")
    share_ratio: float = Field(description="Share of the requests that it answers, or is shown.")
