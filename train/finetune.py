"""LP-FT: fine-tuning encoder and head together, from a head that a linear probe has already fitted.

A random head would first tear the encoder's features apart; starting from the probe keeps them (Kumar et al. 2022, arXiv
2202.10054). The loop reads top to bottom: batches of like length, weighted cross-entropy, AdamW, linear warm-up and decay, and
after each epoch the validation part decides which weights are kept.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from core.batches import plan_batches
from core.classifier import Head
from train.base import Base, token_embeddings
from train.head import FloatMatrix, IntVector
from train.request import FinetuneSettings
from train.tensors import embed_ids, pad


@dataclass(frozen=True)
class TokenRows:
    """Token sequences with class indices (n,) and weights (n,)."""

    ids: Sequence[list[int]]
    labels: IntVector
    weights: FloatMatrix


@dataclass(frozen=True)
class Step:
    """What a step of training says of itself."""

    ratio: float
    loss: float
    examples_per_s: float


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
        on_step: hears of every step.
    """
    if head.encoder is None:
        raise ValueError("fine-tuning starts from a head over embeddings")
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    linear = _linear_of(head.encoder, head.bias)
    tokens = token_embeddings(base)
    tokens.weight.requires_grad_(train_embeddings)
    trainer = _Trainer(base, linear, train, settings)
    lengths = [len(sequence) for sequence in train.ids]

    # At once, because a run may be stopped at any step.
    base.changed()
    best = _Best()
    for epoch in range(settings.epochs):
        base.encoder.train()
        for batch in shuffled_batches(lengths, batch_texts=settings.batch_texts, random=random):
            on_step(trainer.step(batch))
            if trainer.progress.ratio >= 1.0:
                break
        base.encoder.eval()
        base.changed()
        stops = best.stops(base, linear, _validation_loss(base, linear, validation), epoch, settings.patience_epochs)
        if stops or trainer.progress.ratio >= 1.0:
            break
    best.restore(base, linear)
    tokens.weight.requires_grad_(True)
    base.changed()
    return _head_of(linear)


class _Trainer:
    """Encoder and head with what a step needs: rows, weights, optimiser, and how far training is."""

    def __init__(self, base: Base, linear: nn.Linear, rows: TokenRows, settings: FinetuneSettings) -> None:
        self._base, self._linear, self._ids, self._settings = base, linear, rows.ids, settings
        self._labels = torch.from_numpy(rows.labels)
        self._weights = torch.from_numpy(rows.weights / rows.weights.mean())
        self._parameters = [p for p in (*base.encoder.parameters(), *linear.parameters()) if p.requires_grad]
        self._optimiser = torch.optim.AdamW(
            self._parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.progress = _Progress(settings.epochs * -(-len(rows.ids) // settings.batch_texts), settings.budget_s)

    def step(self, batch: list[int]) -> Step:
        """Learn from the rows at ``batch``."""
        settings = self._settings
        for group in self._optimiser.param_groups:
            group["lr"] = settings.learning_rate * _warm_up_and_decay(self.progress.ratio, settings.warmup_ratio)
        scores = self._linear(self._base.encoder(*pad([self._ids[place] for place in batch])))  # (b, c)
        losses = nn.functional.cross_entropy(
            scores, self._labels[batch], reduction="none", label_smoothing=settings.label_smoothing
        )
        loss = (losses * self._weights[batch]).mean()
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        nn.utils.clip_grad_norm_(self._parameters, settings.clip_norm)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self.progress.step(len(batch))
        return Step(self.progress.ratio, float(loss.detach()), self.progress.examples_per_s)


def _linear_of(matrix: FloatMatrix, bias: FloatMatrix) -> nn.Linear:
    linear = nn.Linear(*matrix.shape)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(matrix.T))
        linear.bias.copy_(torch.from_numpy(bias))
    return linear


def _head_of(linear: nn.Linear) -> Head:
    matrix = linear.weight.detach().numpy().T
    return Head(np.ascontiguousarray(matrix), None, linear.bias.detach().numpy().copy())


class _Best:
    """The weights of the epoch with the least validation loss."""

    def __init__(self) -> None:
        self._loss = float("inf")
        self._epoch = -1
        self._state: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]] | None = None

    def stops(self, base: Base, linear: nn.Linear, loss: float | None, epoch: int, patience: int) -> bool:
        if loss is None or loss < self._loss:
            self._loss = self._loss if loss is None else loss
            self._epoch = epoch
            self._state = (copy.deepcopy(base.encoder.state_dict()), copy.deepcopy(linear.state_dict()))
        return epoch - self._epoch > patience

    def restore(self, base: Base, linear: nn.Linear) -> None:
        if self._state is not None:
            base.encoder.load_state_dict(self._state[0])
            linear.load_state_dict(self._state[1])


class _Progress:
    """How far training is: by steps, or by time where that runs out first."""

    def __init__(self, steps: int, budget_s: float) -> None:
        self._steps, self._budget_s = steps, budget_s
        self._began = time.monotonic()
        self._done = self._seen = 0

    def step(self, examples: int) -> None:
        self._done += 1
        self._seen += examples

    @property
    def ratio(self) -> float:
        spent = (time.monotonic() - self._began) / self._budget_s if self._budget_s else 0.0
        return min(1.0, max(self._done / self._steps, spent))

    @property
    def examples_per_s(self) -> float:
        return self._seen / max(1e-9, time.monotonic() - self._began)


def _warm_up_and_decay(ratio: float, warmup_ratio: float) -> float:
    """Return the share of the learning rate at ``ratio`` of training: up in a line, then down to zero in a line."""
    # The first step must move: at ratio 0 a pure line would waste it.
    if ratio < warmup_ratio:
        return max(0.01, ratio / warmup_ratio)
    return (1.0 - ratio) / max(1e-9, 1.0 - warmup_ratio)


@torch.inference_mode()
def _validation_loss(base: Base, linear: nn.Linear, rows: TokenRows) -> float | None:
    if not len(rows.labels):
        return None
    scores = linear(torch.from_numpy(embed_ids(base, rows.ids)))
    return float(nn.functional.cross_entropy(scores, torch.from_numpy(rows.labels)))
