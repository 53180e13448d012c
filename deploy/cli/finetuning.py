"""How a command is told to train the encoder: ``--preset`` and ``--set``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from core.errors import InputError
from core.finetuning import LORA_RANK, FinetuneWish, finetuning, parse_changes


class PresetName(StrEnum):
    """How the encoder is trained."""

    fast = "fast"
    balanced = "balanced"
    thorough = "thorough"


PresetOption = Annotated[
    PresetName | None,
    typer.Option("--preset", help="How the encoder is trained at speed full; docs/finetuning.md says what each is worth."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting of fine-tuning that differs from the preset; repeat it."),
]
LoraOption = Annotated[
    bool,
    typer.Option("--lora", help=f"Train small matrices beside the encoder's own and merge them: lora_rank={LORA_RANK}."),
]


def wish_of(speed: str, preset: PresetName | None, changes: list[str] | None, *, lora: bool = False) -> FinetuneWish:
    """Return how the encoder is to be trained; ``lora`` is a rank for those who do not want to think of one.

    Raises:
        typer.BadParameter: at this speed it is not, or there is no such setting.
    """
    try:
        small = {"lora_rank": LORA_RANK} if lora else {}
        wish = FinetuneWish(None if preset is None else preset.value, {**small, **parse_changes(changes or ())})
        finetuning(wish.preset or "balanced", wish.changes)
    except InputError as error:
        raise typer.BadParameter(error.message) from error
    if speed == "head" and wish != FinetuneWish():
        raise typer.BadParameter(
            "at speed head no encoder is trained; leave out --preset, --set and --lora, or say --speed full"
        )
    return wish
