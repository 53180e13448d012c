"""LP-FT: fine-tuning encoder and head together, from a head that a linear probe has already fitted.

A random head would first tear the encoder's features apart; starting from the probe keeps them (Kumar et al. 2022, arXiv
2202.10054). The loop reads top to bottom: batches of like length, weighted cross-entropy, AdamW, linear warm-up and decay, and
after each epoch the validation part decides which weights are kept. The same seed gives the same weights, whether training
went through or was stopped and went on from its checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from core.classifier import Head
from core.errors import InputError, RunCancelled
from train.base import Base, token_embeddings
from train.checkpoint import Checkpoints
from train.epochs import judge_epoch, shuffled_batches
from train.lora import adapted
from train.precision import faster_precision
from train.progress import Epoch
from train.request import CheckpointPlace, FinetuneSettings, Precision
from train.stepping import Step, TokenRows, Trainer, head_of, linear_of
from train.team import ALONE, Team

__all__ = ["Step", "TokenRows", "finetune", "judge_epoch", "shuffled_batches"]

# As numbers, since that is what workers can tell each other.
_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


def finetune(
    base: Base,
    head: Head,
    train: TokenRows,
    validation: TokenRows,
    settings: FinetuneSettings,
    *,
    train_embeddings: bool = False,
    checkpoint: CheckpointPlace | None = None,
    on_step: Callable[[Step], None] = lambda _: None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Head:
    """Train ``base`` in place together with ``head`` and return the head that belongs to the kept weights.

    Args:
        base: the encoder; left in evaluation mode with the weights of the best epoch.
        head: a head over embeddings alone, from the linear probe.
        train: examples to learn from.
        validation: examples that choose the epoch; when empty the last epoch is kept.
        settings: see :class:`FinetuneSettings`.
        train_embeddings: also train token embeddings, which a grown vocabulary needs. Otherwise they stay as they are: most
            rows would see no gradient but still cost the optimiser its time.
        checkpoint: where the state of training is kept and which one to go on from; None keeps none.
        on_step: hears of every step, and may raise ``RunCancelled``, upon which a checkpoint is written.
        on_epoch: hears of every epoch, where there are validation rows.

    Raises:
        CheckpointUnusable: when training cannot go on from the checkpoint it was given.
    """
    with _training(base, head, train, validation, settings, train_embeddings, checkpoint, ALONE) as training:
        training.run(on_step, on_epoch)
        return head_of(training.linear)


def train_encoder(
    base: Base,
    head: Head,
    train: TokenRows,
    validation: TokenRows,
    settings: FinetuneSettings,
    team: Team,
    *,
    train_embeddings: bool = False,
    checkpoint: CheckpointPlace | None = None,
    on_step: Callable[[Step], None] = lambda _: None,
) -> dict[str, torch.Tensor]:
    """Do one worker's part of :func:`finetune` and return the kept weights by name, whole; all workers of ``team`` call it.

    ``on_step`` is the leader's alone; what it raises, all raise. With a team that shards, ``base`` is of no further use.
    """
    with _training(base, head, train, validation, settings, train_embeddings, checkpoint, team) as training:
        training.run(on_step)
        kept = training.kept()
    if settings.lora_rank:
        # What was trained beside the encoder is part of it now.
        kept |= {f"encoder.{name}": parameter.detach().cpu() for name, parameter in base.encoder.named_parameters()}
    return kept


@torch.no_grad()
def take_on(base: Base, kept: dict[str, torch.Tensor]) -> Head:
    """Give ``base`` the weights of :func:`train_encoder`, and return the head among them."""
    for name, parameter in base.encoder.named_parameters():
        if f"encoder.{name}" in kept:
            parameter.copy_(kept[f"encoder.{name}"])
    base.encoder.eval()
    base.changed()
    matrix = kept["head.weight"].numpy().T
    return Head(np.ascontiguousarray(matrix), None, kept["head.bias"].numpy().copy())


@contextmanager
def _training(
    base: Base,
    head: Head,
    train: TokenRows,
    validation: TokenRows,
    settings: FinetuneSettings,
    train_embeddings: bool,
    checkpoint: CheckpointPlace | None,
    team: Team,
) -> Iterator[_Training]:
    if head.encoder is None:
        raise ValueError("fine-tuning starts from a head over embeddings")
    tokens = token_embeddings(base)
    checkpoints = None
    if checkpoint is not None:
        checkpoints = Checkpoints(checkpoint, _key(base, train, validation, settings, train_embeddings))
    if team.sharded and settings.lora_rank:
        raise InputError("the matrices of lora_rank are not shared out; set HONE_LEARN_SHARDED=0, or lora_rank=0")
    linear = linear_of(head.encoder, head.bias).to(tokens.weight.device)
    try:
        with adapted(base, settings):
            tokens.weight.requires_grad_(train_embeddings)
            yield _Training(base, linear, train, validation, settings, checkpoints, team)
    finally:
        # Also when it was stopped: what loads or trains this encoder next must find it whole.
        tokens.weight.requires_grad_(True)
        base.encoder.eval()
        base.changed()


class _Training:
    """One fine-tuning on its way: the trainer, the order of the rows, and the best weights so far."""

    def __init__(
        self,
        base: Base,
        linear: nn.Linear,
        train: TokenRows,
        validation: TokenRows,
        settings: FinetuneSettings,
        checkpoints: Checkpoints | None,
        team: Team,
    ) -> None:
        self._base, self.linear, self._validation, self._settings = base, linear, validation, settings
        self._checkpoints, self._rows, self._team = checkpoints, train, team
        self._lengths = [len(sequence) for sequence in train.ids]
        state = checkpoints.load() if checkpoints else None
        precision = settings.precision or (state["precision"] if state else None)
        if precision is None:
            found = faster_precision(base, linear, train, settings) if team.leads else "fp32"
            precision = _PRECISIONS[int(team.told(_PRECISIONS.index(found))[0])]
        self._precision: Precision = precision
        torch.manual_seed(settings.seed)
        self._random = np.random.default_rng(settings.seed)
        self._trainer = Trainer(base, linear, train, settings, self._precision, team)
        self._best = _Best()
        self._epoch = self._done = 0
        self._order = self._random.bit_generator.state
        if state is not None:
            self._go_on(state)

    def run(self, on_step: Callable[[Step], None], on_epoch: Callable[[Epoch], None] | None = None) -> None:
        """Train to the end and leave the best weights in place."""
        try:
            while self._epoch < self._trainer.epochs:
                self._run_epoch(on_step)
                judged = self._judge()
                ends = self._ends_with_epoch(judged)
                if on_epoch is not None and judged is not None:
                    number, ratio = self._epoch, self._trainer.progress.ratio
                    on_epoch(Epoch(number, ratio, self._best.epoch == number - 1, *judged))
                if ends:
                    break
        except RunCancelled:
            self._save()
            raise
        # What comes after training can fail, or be stopped, too.
        self._epoch = self._trainer.epochs
        self._save()
        if self._best.weights is not None:
            self._trainer.load_weights(self._best.weights)

    def kept(self) -> dict[str, torch.Tensor]:
        """Return the weights that are in place, whole."""
        whole: dict[str, torch.Tensor] = self._team.whole(self._trainer.weights())
        return {name: tensor.cpu() for name, tensor in whole.items()}

    def _run_epoch(self, on_step: Callable[[Step], None]) -> None:
        # Kept from before the shuffling, so that whoever goes on from here shuffles alike.
        self._order = self._random.bit_generator.state
        places = self._rows.drawn(self._settings.replay_ratio, self._random)
        lengths = [self._lengths[place] for place in places]
        planned = shuffled_batches(lengths, batch_texts=self._settings.batch_texts, random=self._random)
        batches = [[int(places[row]) for row in batch] for batch in planned]
        self._trainer.train()
        for batch in batches[self._done :]:
            if self._trainer.progress.ratio >= 1.0:
                break
            step = self._trainer.step(batch)
            self._done += 1
            wish = self._hear(on_step, step)
            due = self._checkpoints is not None and self._checkpoints.due()
            # A clock and a wish are the leader's; what follows from them all do.
            stops, saves = self._team.told(wish is not None, due)
            if stops:
                raise wish or RunCancelled("the run was stopped while it was at: finetune")
            if saves:
                self._save()

    def _hear(self, on_step: Callable[[Step], None], step: Step) -> RunCancelled | None:
        """Tell of a step and return the wish to stop, if there is one."""
        if not self._team.leads:
            return None
        try:
            on_step(step)
        except RunCancelled as wish:
            return wish
        return None

    def _ends_with_epoch(self, judged: tuple[float, float] | None) -> bool:
        """Count the epoch that is over and return whether it was the last."""
        loss = None if judged is None else judged[0]
        stops = self._best.stops(self._trainer, loss, self._epoch, self._settings.patience_epochs)
        self._epoch, self._done = self._epoch + 1, 0
        return stops or self._trainer.progress.ratio >= 1.0

    def _judge(self) -> tuple[float, float] | None:
        """Return validation loss and accuracy, which the leader computes, and all where each has but a part of the weights."""
        team = self._team
        self._base.encoder.eval()
        if not len(self._validation.labels):
            return None
        judges = team.leads or team.sharded
        loss, accuracy = judge_epoch(self._base, self.linear, self._validation) if judges else (0.0, 0.0)
        loss, accuracy = team.told(loss, accuracy)
        return loss, accuracy

    def _save(self) -> None:
        if self._checkpoints is None or not (self._team.leads or self._team.sharded):
            return
        best = {"loss": self._best.loss, "epoch": self._best.epoch, "weights": self._best.weights}
        place = {"epoch": self._epoch, "done": self._done, "order": json.dumps(self._order), "precision": self._precision}
        state = self._team.whole({"trainer": self._trainer.state(), "best": best, **place})
        if self._team.leads:
            self._checkpoints.save(state)

    def _go_on(self, state: dict[str, Any]) -> None:
        self._trainer.load_state(state["trainer"])
        self._best.loss, self._best.epoch, self._best.weights = (state["best"][name] for name in ("loss", "epoch", "weights"))
        self._epoch, self._done = state["epoch"], state["done"]
        self._random.bit_generator.state = json.loads(state["order"])


class _Best:
    """The weights of the epoch with the least validation loss, at the temperature that suits each."""

    def __init__(self) -> None:
        self.loss = float("inf")
        self.epoch = -1
        self.weights: dict[str, torch.Tensor] | None = None

    def stops(self, trainer: Trainer, loss: float | None, epoch: int, patience: int) -> bool:
        """Keep the weights if they are the best so far; return whether ``patience`` is over."""
        # Where few rows are all answered rightly beyond a doubt, losses are alike, and the later weights have learned more.
        if loss is None or loss <= self.loss:
            self.loss = self.loss if loss is None else loss
            self.epoch = epoch
            self.weights = trainer.weights()
        return epoch - self.epoch > patience


def _key(base: Base, train: TokenRows, validation: TokenRows, settings: FinetuneSettings, train_embeddings: bool) -> str:
    """Return a SHA-256 of everything that decides what training gives, but for the probe, which a checkpoint replaces."""
    total = hashlib.sha256(base.digest().encode())
    total.update(json.dumps([asdict(settings), train_embeddings, torch.__version__], sort_keys=True).encode())
    for rows in (train, validation):
        total.update(json.dumps([len(rows.ids), *rows.ids]).encode())
        total.update(rows.labels.tobytes())
        total.update(rows.weights.tobytes())
        total.update(b"" if rows.fresh is None else rows.fresh.tobytes())
        total.update(b"" if rows.targets is None else rows.targets.tobytes())
        total.update(b"known" if rows.known else b"")
    return total.hexdigest()
