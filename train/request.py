"""What a fit is asked for. Imports no library that learns, so that those who only ask stay light."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core.finetuning import FinetuneSettings, Precision
from core.schemas import FitSpeed
from core.settings import Settings

__all__ = [
    "STAGES",
    "CheckpointPlace",
    "Ensemble",
    "FinetuneSettings",
    "FitRequest",
    "How",
    "Parent",
    "Precision",
    "Wanted",
    "Workers",
    "Workplace",
]

Wanted = Literal["auto", "encoder", "ngrams", "both"]
How = Literal["soup", "greedy", "distill"]

# Rough shares of the time, for the progress bar alone.
STAGES: dict[FitSpeed, dict[str, float]] = {
    "head": {"load": 5, "encode": 45, "fit": 35, "export": 10, "measure": 5},
    "full": {"load": 3, "encode": 10, "fit": 10, "finetune": 60, "export": 10, "measure": 7},
}


@dataclass(frozen=True)
class Ensemble:
    """Versions that one is made of, and how.

    ``soup`` averages their weights, ``greedy`` those of the members that help on validation rows, ``distill`` teaches one of
    them what all say together: ``weight`` is what their answers count beside the labels, ``temperature`` makes them softer.
    """

    how: How
    members: tuple[str, ...]
    weight: float = 0.7
    temperature: float = 2.0


@dataclass(frozen=True)
class FitRequest:
    """What to fit. ``base`` is a folder or hub id, None for the parent's encoder or, without a parent, the bundled one.

    ``cross_fit`` are the text keys of rows of which the gate wants to know what the fit would say had it not learned from them.
    """

    speed: FitSpeed = "head"
    features: Wanted = "auto"
    base: str | None = None
    seed: int = 0
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    cross_fit: tuple[str, ...] = ()
    # Whether answers are to follow the mix of labels in traffic.
    label_shift: bool = True
    # How the parent's encoder was made smaller, as train.recipes writes it; for the lineage.
    compression: str | None = None
    # What an ensemble was made of; for the lineage, too.
    ensemble: Ensemble | None = None
    # Over how many workers the encoder was trained; for the lineage too.
    workers: int = 1


@dataclass(frozen=True)
class Parent:
    """The version a fit starts from."""

    version: str
    folder: Path


@dataclass(frozen=True)
class CheckpointPlace:
    """Where the state of a fine-tuning is written, how often, and which earlier one it goes on from.

    ``path`` is the file of this run. ``every_s`` is the least time between two writings, 0 for only when the run is stopped.
    ``resume`` is the file of the run that is continued, None for a run from the start.
    """

    path: Path
    every_s: float = 120.0
    resume: Path | None = None


@dataclass(frozen=True)
class Workers:
    """The Ray Train workers that an encoder is trained over, at least ``fewest`` of ``count``, and what each is given.

    ``cpus`` and ``gpus`` are what Ray reserves for each. ``sharded``: each keeps a part of the weights. After one was lost,
    training goes on ``restarts`` times from its last checkpoint. ``threads`` 0 shares the cores out.
    """

    count: int
    fewest: int
    log: Path
    cpus: float = 1.0
    gpus: float = 0.0
    sharded: bool = False
    restarts: int = 3
    checkpoint_every_s: float = 120.0
    niceness: int = 0
    threads: int = 0
    log_level: str = "INFO"

    @classmethod
    def of(cls, settings: Settings, *, niceness: int = 0) -> Workers | None:
        """Return what the settings say; None where the process that fits trains by itself, as it does unless told otherwise."""
        count = settings.learn_workers
        if count == 1 and not settings.learn_worker_gpus and not settings.learn_sharded:
            return None
        return cls(
            count=count,
            fewest=min(settings.learn_workers_min or count, count),
            log=settings.home.logs / "train.log",
            cpus=settings.learn_worker_cpus,
            gpus=settings.learn_worker_gpus,
            sharded=settings.learn_sharded,
            restarts=settings.learn_worker_restarts,
            checkpoint_every_s=settings.learn_checkpoint_every_s,
            niceness=niceness,
            threads=settings.engine_threads,
            log_level=settings.log_level,
        )


@dataclass(frozen=True)
class Workplace:
    """Folders of a fit: ``cache`` outlives it, ``staging`` receives the bundle; both on the disk of the registry.

    Without ``checkpoint`` a fit that is stopped cannot be resumed. With ``workers`` the encoder is trained over them, and they
    see the folders too.
    """

    cache: Path
    staging: Path
    checkpoint: CheckpointPlace | None = None
    workers: Workers | None = None
