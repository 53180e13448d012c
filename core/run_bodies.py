"""What ``POST /v1/runs`` takes."""

from __future__ import annotations

from typing import Self

from pydantic import Field, JsonValue, model_validator

from core.errors import InputError
from core.finetuning import FinetuneWish, Preset, finetuning
from core.schemas import RunSpeed, Wire


class RunRequest(Wire):
    """Body of ``POST /v1/runs``."""

    speed: RunSpeed = Field(
        "auto",
        description="`head` refits the linear head; `full` also trains the encoder; `auto` refits the head, and trains the "
        "encoder where that leaves a gap.",
    )
    note: str | None = Field(None, max_length=500, description="Why; kept with the run.")
    resume: str | None = Field(
        None, max_length=40, description="A full run that was stopped or failed, to go on from its checkpoint on the same data."
    )
    repeat: str | None = Field(None, max_length=40, description="A run to do again on the same data with the same settings.")

    preset: Preset | None = Field(
        None, description="How the encoder is trained; null: as the service's settings say. See docs/finetuning.md."
    )
    finetune: dict[str, JsonValue] | None = Field(
        None, max_length=50, description='What differs from that, such as `{"epochs": 5, "layer_decay": 0.9}`.'
    )

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if self.resume is not None and self.repeat is not None:
            raise ValueError("resume and repeat exclude each other")
        if (self.resume or self.repeat) and self.model_fields_set & {"speed", "preset", "finetune"}:
            raise ValueError(
                "a run that is resumed or repeated has its own speed and settings; leave out speed, preset, finetune"
            )
        return self

    @model_validator(mode="after")
    def _can_finetune(self) -> Self:
        if self.speed == "head" and self.wish != FinetuneWish():
            raise ValueError("at speed head no encoder is trained; leave out preset and finetune, or ask for full")
        try:
            finetuning(self.preset or "balanced", self.finetune)
        except InputError as error:
            raise ValueError(error.message) from error
        return self

    @property
    def wish(self) -> FinetuneWish:
        """How the encoder is to be trained."""
        return FinetuneWish(self.preset, self.finetune or {})
