"""How the encoder is trained, as one value: presets that work as they are, and every setting that may differ from them.

Imports no library that learns: the service reads what a run is asked for, and the learner's record keeps it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, JsonValue, ValidationError
from pydantic.dataclasses import dataclass

from core.errors import InputError

Precision = Literal["fp32", "bf16"]
Schedule = Literal["linear", "cosine", "constant", "step"]
Preset = Literal["fast", "balanced", "thorough"]

Share = Annotated[float, Field(ge=0.0, lt=1.0)]

USUAL_EPOCHS = 3
# Where the usual epochs have fewer updates than this, there are more epochs, up to so many: docs/finetuning.md.
FEW_ROWS_EPOCHS = 8
_FEW_STEPS = 600


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class FinetuneSettings:
    """Everything that decides how encoder and head are trained, beside the rows; the defaults are the preset ``balanced``.

    docs/finetuning.md says which of them were chosen by measurement. With ``budget_s`` above 0 a clock ends training: a model
    in time rather than the same model every time.
    """

    epochs: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000,
            description="Most readings of the training rows. null: 3; of few rows up to 8, unless it goes on from a version.",
        ),
    ] = None
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0, description="The highest rate, reached after the warm-up.")] = 1e-4
    weight_decay: Annotated[
        float, Field(ge=0.0, le=10.0, description="L2: the share of each weight that a rate of 1 takes.")
    ] = 0.01
    warmup_ratio: Annotated[Share, Field(description="Share of training in which the rate rises from zero.")] = 0.1
    batch_texts: Annotated[int, Field(ge=1, le=65_536, description="Texts that one update learns from.")] = 32
    clip_norm: Annotated[float, Field(ge=0.0, description="Longest gradient; longer ones are cut to it. 0: no limit.")] = 1.0
    label_smoothing: Annotated[Share, Field(description="Share of each label's probability that all labels are given.")] = 0.0
    patience_epochs: Annotated[
        int, Field(ge=0, description="Epochs without a lower validation loss after which one more ends training.")
    ] = 2
    budget_s: Annotated[
        float, Field(ge=0.0, description="Seconds after which training ends, the rate falling to that. 0: no limit.")
    ] = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Of the rows' order and of dropout.")] = 0
    precision: Annotated[
        Precision | None,
        Field(description="Of the products; weights stay in fp32. null: whichever a few steps on this machine show faster."),
    ] = None
    # A quarter lost 6 points on old classes of BANKING77 where all lost none (docs/finetuning.md).
    replay_ratio: Annotated[
        float,
        Field(
            ge=0.0, le=1.0, description="Share of rows the champion has learned that each epoch sees beside the corrections."
        ),
    ] = 1.0
    schedule: Annotated[
        Schedule, Field(description="How the rate goes after the warm-up: to zero in a line or a cosine, or not, or in steps.")
    ] = "linear"
    step_drops: Annotated[int, Field(ge=1, description="With `step`: how often the rate drops, at even distances.")] = 2
    step_factor: Annotated[float, Field(gt=0.0, lt=1.0, description="With `step`: what each drop leaves of the rate.")] = 0.3
    layer_decay: Annotated[
        float,
        Field(gt=0.0, le=1.0, description="What each layer's rate is of the rate of the layer above it, the head on top."),
    ] = 1.0
    dropout: Annotated[
        float | None,
        Field(ge=0.0, lt=1.0, description="Of the encoder, but for its attention, which drops nothing. null: as it was made."),
    ] = None
    head_dropout: Annotated[Share, Field(description="Of the embedding, before the head.")] = 0.0
    l1: Annotated[float, Field(ge=0.0, le=10.0, description="What a rate of 1 takes from the size of each weight.")] = 0.0
    l2_start: Annotated[
        float, Field(ge=0.0, le=10.0, description="Share of the way back to its start that each encoder weight is pulled.")
    ] = 0.0
    micro_texts: Annotated[
        int, Field(ge=0, description="Texts at once: gradients add up to `batch_texts`. 0: all; fewer need less memory.")
    ] = 0
    lora_rank: Annotated[
        int,
        Field(ge=0, le=4096, description="Train matrices of this rank beside the encoder's own, for large ones. 0: itself."),
    ] = 0
    lora_alpha: Annotated[
        int | None, Field(gt=0, description="They count by this over the rank. null: twice the rank, so by 2.")
    ] = None
    lora_dropout: Annotated[Share, Field(description="Of what goes into them.")] = 0.0
    lora_targets: Annotated[
        str, Field(max_length=500, description="Layers that get them, by name, such as `query+value`. Empty: all linear ones.")
    ] = ""

    def most_epochs(self, rows: int, *, known: bool) -> int:
        """Return how often ``rows`` (those of an epoch) are read at most; ``known``: training goes on from a version.

        A rate that falls to zero within a hundred steps leaves most of what few rows could teach.

        >>> [FinetuneSettings().most_epochs(rows, known=False) for rows in (1_000, 4_000, 10_000)]
        [8, 5, 3]
        >>> FinetuneSettings().most_epochs(1_000, known=True), FinetuneSettings(epochs=2).most_epochs(1_000, known=False)
        (3, 2)
        """
        if self.epochs is not None:
            return self.epochs
        if known:
            return USUAL_EPOCHS
        steps = max(1, -(-rows // self.batch_texts))
        return min(FEW_ROWS_EPOCHS, max(USUAL_EPOCHS, -(-_FEW_STEPS // steps)))

    def __str__(self) -> str:
        """Return the nearest preset and what differs from it, as the command line takes it.

        >>> str(FinetuneSettings(epochs=5))
        'balanced epochs=5'
        """
        preset, changes = nearest_preset(self)
        return " ".join([preset, *(f"{name}={_written(value)}" for name, value in changes.items())])


LORA_RANK = 16
"""The rank that ``--lora`` stands for."""

# What a preset differs in from the defaults.
PRESETS: dict[Preset, dict[str, JsonValue]] = {
    "fast": {"epochs": 1},
    "balanced": {},
    "thorough": {"epochs": 8},
}


def finetuning(preset: Preset = "balanced", changes: Mapping[str, Any] | None = None) -> FinetuneSettings:
    """Return a preset with some of its settings changed.

    >>> finetuning("fast", {"learning_rate": 5e-5}).epochs
    1

    Raises:
        InputError: naming each setting that there is not, or that cannot have its value.
    """
    try:
        return FinetuneSettings(**{**PRESETS[preset], **(changes or {})})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False))
        known = ", ".join(field.name for field in dataclasses.fields(FinetuneSettings))
        raise InputError(f"fine-tuning cannot be set so: {wrong}; there are {known}") from error


@dataclasses.dataclass(frozen=True)
class FinetuneWish:
    """What a run is asked to train the encoder with; without a preset the service's settings hold but for ``changes``."""

    preset: Preset | None = None
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def recorded(lineage: Mapping[str, object]) -> FinetuneSettings | None:
    """Return the settings that a bundle's lineage keeps under ``finetune_…``; None where it has none that are known here."""
    start = "finetune_"
    found = {name.removeprefix(start): value for name, value in lineage.items() if name.startswith(start)}
    try:
        return finetuning("balanced", found) if found else None
    except InputError:
        # Of a later release, which knows settings that this one does not.
        return None


def split_changes(text: str) -> list[str]:
    """Return the ``name=value`` pairs of a line, which commas or spaces divide.

    >>> split_changes("epochs=5, schedule=cosine")
    ['epochs=5', 'schedule=cosine']
    """
    return [pair for pair in re.split(r"[,\s]+", text) if pair]


def parse_changes(pairs: Iterable[str]) -> dict[str, JsonValue]:
    """Return what ``name=value`` pairs say; the values are checked by :func:`finetuning`.

    >>> parse_changes(["learning_rate=5e-5", "schedule=cosine", "dropout=null"])
    {'learning_rate': 5e-05, 'schedule': 'cosine', 'dropout': None}

    Raises:
        InputError: a pair has no name or no value, or a name comes twice.
    """
    found: dict[str, JsonValue] = {}
    for pair in pairs:
        name, _, value = (part.strip() for part in pair.partition("="))
        if not name or not value or name in found:
            raise InputError(f"{pair!r} is not one setting of fine-tuning; write name=value, each name once")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def nearest_preset(settings: FinetuneSettings) -> tuple[Preset, dict[str, JsonValue]]:
    """Return the preset from which the fewest settings differ, and these."""
    values = dataclasses.asdict(settings)

    def differing(preset: Preset) -> dict[str, JsonValue]:
        usual = dataclasses.asdict(finetuning(preset))
        return {name: value for name, value in values.items() if value != usual[name]}

    presets: tuple[Preset, ...] = get_args(Preset)
    # Where two are as near, the default is the one to name.
    best = min(presets, key=lambda preset: (len(differing(preset)), preset != "balanced"))
    return best, differing(best)


def _written(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)
