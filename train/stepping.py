"""One step of fine-tuning, in fp32 or with bfloat16 products, and where training stands after it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from core.classifier import Head
from core.errors import InputError
from core.finetuning import FinetuneSettings, Precision
from train.base import Base
from train.head import FloatMatrix, IntVector
from train.optimiser import Optimiser, set_dropout, shares_by_layer
from train.products import bf16_products
from train.team import ALONE, Team
from train.tensors import pad


@dataclass(frozen=True)
class TokenRows:
    """Token sequences with class indices (n,) and weights (n,).

    ``fresh`` are places of the rows that every epoch sees, where it need not see all of the others; None: it sees all.
    ``targets`` (n, c) are probabilities to be learned in place of the labels. ``known``: training goes on from a version, which
    has learned such rows.
    """

    ids: Sequence[list[int]]
    labels: IntVector
    weights: FloatMatrix
    fresh: IntVector | None = None
    targets: FloatMatrix | None = None
    known: bool = False

    def per_epoch(self, replay_ratio: float) -> int:
        """Return how many rows an epoch has."""
        if self.fresh is None:
            return len(self.ids)
        return len(self.fresh) + round(replay_ratio * (len(self.ids) - len(self.fresh)))

    def drawn(self, replay_ratio: float, random: np.random.Generator) -> IntVector:
        """Return the places of one epoch's rows: the fresh ones, and of the others a share drawn anew, all alike likely."""
        places = np.arange(len(self.ids))
        if self.fresh is None or replay_ratio >= 1.0:
            return places
        count = self.per_epoch(replay_ratio) - len(self.fresh)
        known = np.setdiff1d(places, self.fresh)
        return np.concatenate([self.fresh, random.choice(known, size=count, replace=False)])


@dataclass(frozen=True)
class Step:
    """What a step of training says of itself."""

    ratio: float
    loss: float
    examples_per_s: float
    precision: Precision
    number: int
    steps: int


def most_epochs(rows: TokenRows, settings: FinetuneSettings) -> int:
    """Return how often ``rows`` are read at most."""
    return settings.most_epochs(rows.per_epoch(settings.replay_ratio), known=rows.known)


class Trainer:
    """Encoder and head with what a step needs: rows, weights, optimiser, and how far training is.

    With ``bf16`` the encoder's products are of bfloat16 numbers (:mod:`train.products`); all else is in fp32.
    """

    def __init__(
        self,
        base: Base,
        linear: nn.Linear,
        rows: TokenRows,
        settings: FinetuneSettings,
        precision: Precision = "fp32",
        team: Team = ALONE,
    ) -> None:
        self._linear, self._ids, self._settings, self._precision = linear, rows.ids, settings, precision
        self._team, self._encoder = team, base.encoder
        if settings.dropout is not None and not set_dropout(self._encoder, settings.dropout) and settings.dropout:
            raise InputError(f"{base.name} has no layers that drop anything; leave dropout alone, or set head_dropout")
        drop_attention_dropout(self._encoder)
        self._head_dropout = team.dropout(settings.head_dropout)
        team.prepare(self._encoder, linear)
        # Sharding moves what it shards to the workers' devices.
        self._device = linear.weight.device
        # Class indices or probabilities: the loss takes either.
        self._labels = torch.from_numpy(rows.labels if rows.targets is None else rows.targets).to(self._device)
        self._weights = torch.from_numpy(rows.weights / rows.weights.mean()).to(self._device)
        self._named = {
            **{f"encoder.{name}": p for name, p in base.encoder.named_parameters() if p.requires_grad},
            **{f"head.{name}": p for name, p in linear.named_parameters()},
        }
        shares = {f"encoder.{name}": share for name, share in shares_by_layer(base.encoder, settings.layer_decay).items()}
        self._optimiser = Optimiser(self._named, shares, settings)
        self.epochs = most_epochs(rows, settings)
        steps = self.epochs * -(-rows.per_epoch(settings.replay_ratio) // settings.batch_texts)
        self.progress = TrainingProgress(steps, settings.budget_s)

    def train(self) -> None:
        """Put the encoder into training mode."""
        self._encoder.train()

    def step(self, batch: list[int]) -> Step:
        """Learn from the rows at ``batch``."""
        at_once = self._settings.micro_texts or len(batch)
        ratio, loss_now = self.progress.ratio, 0.0
        for start in range(0, len(batch), at_once):
            part = batch[start : start + at_once]
            loss = self._loss(part)
            if len(part) < len(batch):
                loss = loss * (len(part) / len(batch))
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            loss_now += float(loss.detach())
        self._team.add_up(list(self._named.values()))
        self._optimiser.step(ratio)
        progress = self.progress
        progress.step(len(batch))
        loss_now = self._team.total(loss_now)
        return Step(progress.ratio, loss_now, progress.examples_per_s, self._precision, progress.done, progress.steps)

    def _loss(self, batch: list[int]) -> torch.Tensor:
        """Return what this worker's rows of ``batch`` add to the mean loss of the batch."""
        share = self._team.share(batch)
        longest = max(len(self._ids[place]) for place in batch)
        tokens, mask = pad([self._ids[place] for place in share.rows], longest)
        with bf16_products(self._encoder) if self._precision == "bf16" else nullcontext():
            embeddings = self._encoder(tokens.to(self._device), mask.to(self._device))
        losses = nn.functional.cross_entropy(
            self._linear(self._head_dropout(embeddings)),
            self._labels[share.rows],
            reduction="none",
            label_smoothing=self._settings.label_smoothing,
        )
        return (losses * self._weights[share.rows]).mean() * share.part

    def weights(self) -> dict[str, torch.Tensor]:
        """Return a copy of what trains."""
        return {name: tensor.detach().clone() for name, tensor in self._named.items()}

    @torch.no_grad()
    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Take on what :meth:`weights` gave."""
        for name, tensor in self._named.items():
            tensor.copy_(self._team.part_of(weights[name], tensor))

    def state(self) -> dict[str, Any]:
        """Return all that a later :meth:`load_state` needs to go on as if nothing had happened."""
        return {
            "weights": self.weights(),
            "optimiser": self._optimiser.state_dict(),
            "progress": self.progress.state(),
            "torch_random": torch.get_rng_state(),
            **({"cuda_random": torch.cuda.get_rng_state(self._device)} if self._device.type == "cuda" else {}),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.load_weights(state["weights"])
        self._optimiser.load_state_dict(state["optimiser"], self._team.part_of)
        self.progress.load_state(state["progress"])
        torch.set_rng_state(state["torch_random"])
        if self._device.type == "cuda" and "cuda_random" in state:
            torch.cuda.set_rng_state(state["cuda_random"], self._device)


class TrainingProgress:
    """How far training is: by ``done`` of ``steps`` steps, or by time where that runs out first."""

    def __init__(self, steps: int, budget_s: float) -> None:
        self.steps, self._budget_s = steps, budget_s
        self._began = time.monotonic()
        self._before_s = 0.0
        self.done = self._seen = 0

    def step(self, examples: int) -> None:
        """Count a step of so many examples."""
        self.done += 1
        self._seen += examples

    @property
    def ratio(self) -> float:
        """The share of training that is done, 0 to 1."""
        spent = self._spent_s() / self._budget_s if self._budget_s else 0.0
        return min(1.0, max(self.done / max(1, self.steps), spent))

    @property
    def examples_per_s(self) -> float:
        """Examples learned from per second of training."""
        return self._seen / max(1e-9, self._spent_s())

    def state(self) -> dict[str, float]:
        """Return what :meth:`load_state` takes."""
        return {"done": self.done, "seen": self._seen, "spent_s": self._spent_s()}

    def load_state(self, state: dict[str, float]) -> None:
        """Go on from a state; the time in between does not count."""
        self.done, self._seen, self._before_s = int(state["done"]), int(state["seen"]), state["spent_s"]
        self._began = time.monotonic()

    def _spent_s(self) -> float:
        return self._before_s + time.monotonic() - self._began


def drop_attention_dropout(encoder: nn.Module) -> None:
    """Let attention drop nothing in training, in place; other dropout stays.

    torch's fused attention for the CPU knows no dropout, and without it a step of the bundled encoder takes a third longer:
    2.3 against 3.5 s of processor time in a trial of 6 steps on a busy machine.
    """
    for module in encoder.modules():
        if "attention" not in type(module).__name__.lower():
            continue
        for name, child in module.named_children():
            # GPT-2 keeps the dropout of what leaves the layer in the same module.
            if isinstance(child, nn.Dropout) and not name.startswith("resid"):
                child.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment] # a plain number, as the check above has seen


def linear_of(matrix: FloatMatrix, bias: FloatMatrix) -> nn.Linear:
    """Return a head over embeddings as a layer of torch."""
    linear = nn.Linear(*matrix.shape)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(matrix.T))
        linear.bias.copy_(torch.from_numpy(bias))
    return linear


def head_of(linear: nn.Linear) -> Head:
    """Return the layer as a head over embeddings."""
    matrix = linear.weight.detach().numpy().T
    return Head(np.ascontiguousarray(matrix), None, linear.bias.detach().numpy().copy())
