"""LP-FT: fine-tuning encoder and head together, from a head that a linear probe has already fitted.

A random head would first tear the encoder's features apart; starting from the probe keeps them (Kumar et al. 2022, arXiv
2202.10054). The loop reads top to bottom: batches of like length, weighted cross-entropy, AdamW, linear warm-up and decay, and
after each epoch the validation part decides which weights are kept. The same seed gives the same weights, whether training
went through or was stopped and went on from its checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from core.batches import plan_batches
from core.classifier import Head
from core.errors import RunCancelled
from train.base import Base, token_embeddings
from train.checkpoint import Checkpoints
from train.lora import adapted
from train.precision import faster_precision
from train.request import CheckpointPlace, FinetuneSettings, Precision
from train.stepping import Step, TokenRows, Trainer, head_of, linear_of
from train.tensors import embed_ids

__all__ = ["Step", "TokenRows", "finetune", "shuffled_batches"]


def shuffled_batches(lengths: Sequence[int], *, batch_texts: int, random: np.random.Generator) -> list[list[int]]:
    """Return batches of texts of like length, in random order.

    Texts are shuffled, cut into pools of 50 batches, and sorted only within a pool: little padding, yet no two epochs alike.
    """
    order = random.permutation(len(lengths))
    batches: list[list[int]] = []
    pool = batch_texts * 50
    for start in range(0, len(order), pool):
        places = order[start : start + pool]
        planned = plan_batches([lengths[place] for place in places], max_texts=batch_texts, max_tokens=1 << 30)
        batches.extend([int(places[row]) for row in batch] for batch in planned)
    random.shuffle(batches)
    return batches


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

    Raises:
        CheckpointUnusable: when training cannot go on from the checkpoint it was given.
    """
    if head.encoder is None:
        raise ValueError("fine-tuning starts from a head over embeddings")
    tokens = token_embeddings(base)
    checkpoints = None
    if checkpoint is not None:
        checkpoints = Checkpoints(checkpoint, _key(base, train, validation, settings, train_embeddings))
    linear = linear_of(head.encoder, head.bias)
    try:
        with adapted(base, settings):
            tokens.weight.requires_grad_(train_embeddings)
            _Training(base, linear, train, validation, settings, checkpoints).run(on_step)
    finally:
        # Also when it was stopped: what loads or trains this encoder next must find it whole.
        tokens.weight.requires_grad_(True)
        base.encoder.eval()
        base.changed()
    return head_of(linear)


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
    ) -> None:
        self._base, self._linear, self._validation, self._settings = base, linear, validation, settings
        self._checkpoints, self._rows = checkpoints, train
        self._lengths = [len(sequence) for sequence in train.ids]
        state = checkpoints.load() if checkpoints else None
        self._precision: Precision = settings.precision or (
            state["precision"] if state else faster_precision(base, linear, train, settings)
        )
        torch.manual_seed(settings.seed)
        self._random = np.random.default_rng(settings.seed)
        self._trainer = Trainer(base, linear, train, settings, self._precision)
        self._best = _Best()
        self._epoch = self._done = 0
        self._order = self._random.bit_generator.state
        if state is not None:
            self._go_on(state)

    def run(self, on_step: Callable[[Step], None]) -> None:
        """Train to the end and leave the best weights in place."""
        try:
            while self._epoch < self._settings.epochs:
                self._run_epoch(on_step)
                if self._ends_with_epoch():
                    break
        except RunCancelled:
            self._save()
            raise
        # What comes after training can fail, or be stopped, too.
        self._epoch = self._settings.epochs
        self._save()
        if self._best.weights is not None:
            self._trainer.load_weights(self._best.weights)

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
            on_step(step)
            if self._checkpoints is not None and self._checkpoints.due():
                self._save()

    def _ends_with_epoch(self) -> bool:
        """Judge the epoch that is over and return whether it was the last."""
        self._base.encoder.eval()
        loss = _validation_loss(self._base, self._linear, self._validation)
        stops = self._best.stops(self._trainer, loss, self._epoch, self._settings.patience_epochs)
        self._epoch, self._done = self._epoch + 1, 0
        return stops or self._trainer.progress.ratio >= 1.0

    def _save(self) -> None:
        if self._checkpoints is None:
            return
        best = {"loss": self._best.loss, "epoch": self._best.epoch, "weights": self._best.weights}
        place = {"epoch": self._epoch, "done": self._done, "order": json.dumps(self._order), "precision": self._precision}
        self._checkpoints.save({"trainer": self._trainer.state(), "best": best, **place})

    def _go_on(self, state: dict[str, Any]) -> None:
        self._trainer.load_state(state["trainer"])
        self._best.loss, self._best.epoch, self._best.weights = (state["best"][name] for name in ("loss", "epoch", "weights"))
        self._epoch, self._done = state["epoch"], state["done"]
        self._random.bit_generator.state = json.loads(state["order"])


class _Best:
    """The weights of the epoch with the least validation loss."""

    def __init__(self) -> None:
        self.loss = float("inf")
        self.epoch = -1
        self.weights: dict[str, torch.Tensor] | None = None

    def stops(self, trainer: Trainer, loss: float | None, epoch: int, patience: int) -> bool:
        """Keep the weights if they are the best so far; return whether ``patience`` is over."""
        if loss is None or loss < self.loss:
            self.loss = self.loss if loss is None else loss
            self.epoch = epoch
            self.weights = trainer.weights()
        return epoch - self.epoch > patience


@torch.inference_mode()
def _validation_loss(base: Base, linear: nn.Linear, rows: TokenRows) -> float | None:
    if not len(rows.labels):
        return None
    scores = linear(torch.from_numpy(embed_ids(base, rows.ids)))
    return float(nn.functional.cross_entropy(scores, torch.from_numpy(rows.labels)))


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
    return total.hexdigest()
