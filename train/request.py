"""What a fit is asked for. Imports no library that learns, so that those who only ask stay light."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core.settings import Speed

Wanted = Literal["auto", "encoder", "ngrams", "both"]

# Rough shares of the time, for the progress bar alone.
STAGES: dict[Speed, dict[str, float]] = {
    "head": {"load": 5, "encode": 45, "fit": 35, "export": 10, "measure": 5},
    "full": {"load": 3, "encode": 10, "fit": 10, "finetune": 60, "export": 10, "measure": 7},
}


@dataclass(frozen=True)
class FinetuneSettings:
    """Learning rates and lengths; see docs/results.md for what they reached.

    With ``budget_s`` above 0 training ends after that many seconds, the learning rate falling to zero on the way: a model in
    time rather than the same model every time.
    """

    epochs: int = 3
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    batch_texts: int = 32
    clip_norm: float = 1.0
    label_smoothing: float = 0.0
    patience_epochs: int = 1
    budget_s: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class FitRequest:
    """What to fit. ``base`` is a folder or hub id, None for the parent's encoder or, without a parent, the bundled one."""

    speed: Speed = "head"
    features: Wanted = "auto"
    base: str | None = None
    seed: int = 0
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)


@dataclass(frozen=True)
class Parent:
    """The version a fit starts from."""

    version: str
    folder: Path


@dataclass(frozen=True)
class Workplace:
    """Folders of a fit: ``cache`` outlives it, ``staging`` receives the bundle; both on the disk of the registry."""

    cache: Path
    staging: Path
