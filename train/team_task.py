"""What a worker does of a fine-tuning that several do together, and how it and the caller hear of each other.

Files in one folder that all of them see, and the caller too, carry it: ``base`` the encoder as it starts, ``step.json`` the
latest step, ``stop`` the wish that they stop, ``kept.pt`` the weights that were kept, ``refused.json`` why what they were given
cannot be trained.
"""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from core.classifier import Head
from core.errors import CheckpointUnusable, HoneError, InputError, RunCancelled
from core.home import write_atomically
from train.base import load_base
from train.finetune import train_encoder
from train.request import CheckpointPlace, FinetuneSettings, Workers
from train.stepping import Step, TokenRows
from train.team import Team

log = logging.getLogger("hone.learner")

KEPT = "kept.pt"
STEP = "step.json"
STOP = "stop"
_REFUSED = "refused.json"
_TELL_EVERY_S = 0.3


@dataclass(frozen=True)
class TeamTask:
    """What each worker is given; ``name`` is what the encoder is called by."""

    folder: Path
    name: str
    head: Head
    train: TokenRows
    validation: TokenRows
    settings: FinetuneSettings
    train_embeddings: bool
    checkpoint: CheckpointPlace
    workers: Workers


def take_part(task: TeamTask, team: Team, device: torch.device) -> None:
    """Train as one of ``team``; the leader leaves what comes of it in the folder of ``task``.

    Ray starts workers again after one was lost, so each goes on from the checkpoint, if there is one by now.
    """
    facts = {"worker": team.rank, "workers": team.size, "pid": os.getpid()}
    log.info("a worker begins", extra=facts)
    base = load_base(str(task.folder / "base"))
    base.name = task.name
    if not team.sharded:
        base.encoder.to(device)
    place = task.checkpoint
    if place.path.exists():
        place = replace(place, resume=place.path)
    try:
        kept = train_encoder(
            base,
            task.head,
            task.train,
            task.validation,
            task.settings,
            train_embeddings=task.train_embeddings,
            checkpoint=place,
            on_step=_Teller(task.folder),
            team=team,
        )
    except RunCancelled:
        # The caller, who said so, knows.
        log.info("a worker was stopped", extra=facts)
    except HoneError as error:
        # All of them meet it alike, and would again; Ray would wrap it beyond recognition.
        if team.leads:
            write_atomically(task.folder / _REFUSED, json.dumps([error.code, error.message]).encode())
    except Exception as error:
        log.warning("a worker failed", extra={**facts, "reason": type(error).__name__})
        raise
    else:
        if team.leads:
            # In two steps, so that a leader that dies meanwhile leaves nothing half.
            torch.save(kept, task.folder / "kept.part")
            (task.folder / "kept.part").replace(task.folder / KEPT)


def raise_refusal(folder: Path) -> None:
    """Raise what the workers met in what they were given, if they did.

    Raises:
        CheckpointUnusable: training cannot go on from the checkpoint.
        InputError: the settings do not suit the encoder.
    """
    try:
        code, message = json.loads((folder / _REFUSED).read_bytes())
    except FileNotFoundError:
        return
    for kind in (CheckpointUnusable, InputError):
        if code == kind.code:
            raise kind(message)
    raise HoneError(message)


class _Teller:
    """Writes the leader's latest step for the caller to read, and stops training when the caller wants that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told_at = float("-inf")

    def __call__(self, step: Step) -> None:
        moment = time.monotonic()
        if moment - self._told_at >= _TELL_EVERY_S:
            self._told_at = moment
            write_atomically(self._folder / STEP, json.dumps(asdict(step)).encode())
        if (self._folder / STOP).exists():
            raise RunCancelled("the run was stopped while it was at: finetune")
