"""What a simulation is asked for: every choice in one place, so that a result names it and a second start finds it."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from core.schemas import RunSpeed
from core.settings import Settings

Strategy = Literal["frozen", "memory", "head", "full", "auto", "oracle", "oracle-head"]


def speed_of(strategy: Strategy) -> RunSpeed | None:
    """Return the speed of the runs that a strategy asks for after each step, None where it asks for none."""
    speeds: tuple[RunSpeed, ...] = get_args(RunSpeed)
    return next((speed for speed in speeds if speed == strategy), None)


def is_known(strategy: Strategy) -> bool:
    """Return whether this release can learn so: a run of that speed is there, or none is asked for."""
    if strategy == "memory":
        return "memory_entries" in Settings.model_fields
    return speed_of(strategy) is not None or strategy not in ("head", "full", "auto")


STRATEGIES: tuple[Strategy, ...] = tuple(strategy for strategy in get_args(Strategy) if is_known(strategy))


def known(*strategies: Strategy) -> tuple[Strategy, ...]:
    """Return those of ``strategies`` that this release has."""
    return tuple(strategy for strategy in strategies if strategy in STRATEGIES)


class Plan(BaseModel):
    """The choices that decide what comes out; two simulations of one plan and one stream give the same answers.

    Ratios are between 0 and 1. A step is a month, a stage: what is answered before anything of it is learned.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategies: tuple[Strategy, ...] = known("frozen", "head", "auto", "oracle")
    label_ratio: float = Field(0.2, ge=0, le=1, description="Share of all answers that chance puts before an annotator.")
    correct_ratio: float = Field(0.0, ge=0, le=1, description="Share of the other wrong answers that their users correct.")
    delay_steps: int = Field(0, ge=0, description="Steps for which labels are late.")
    noise_ratio: float = Field(0.0, ge=0, lt=1, description="Share of what honest annotators say that is wrong.")
    hostile_ratio: float = Field(0.0, ge=0, lt=1, description="Share of labels that hostile annotators give, all wrong.")
    overlap_ratio: float = Field(0.0, ge=0, le=1, description="Share of labelled texts of which a second annotator speaks too.")
    annotators: int = Field(8, ge=2, description="Honest annotators, by whose names labels come.")
    base_speed: Literal["head", "full"] = "head"
    base_encoder: str | None = Field(None, description="Folder or hub id of another encoder to start from.")
    features: Literal["auto", "encoder", "ngrams", "both"] = "auto"
    oracle_every: int = Field(
        1, ge=1, description="Steps between two fits of the oracle at full speed; it answers in between as it was."
    )
    correction_weight: float = Field(4.0, gt=0, description="As HONE_CORRECTION_WEIGHT.")
    probation_s: float = Field(0.0, ge=0, description="As HONE_PROBATION_S, by the wall's clock, where a step takes seconds.")
    seed: int = 0
