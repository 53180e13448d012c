"""A fit as plain data that can travel to another process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.settings import Settings
from train.request import FitRequest, Parent, Workplace


@dataclass(frozen=True)
class FitJob:
    """Everything a fit needs; ``share`` is the part of the run it is, from where to where of 0 to 1."""

    run_id: str
    settings: Settings
    request: FitRequest
    snapshot: str
    dataset: str
    place: Workplace
    parent: Parent
    share: tuple[float, float] = (0.0, 1.0)


# Runs the job somewhere and returns the folder of the sealed bundle.
Fit = Callable[[FitJob], Path]
