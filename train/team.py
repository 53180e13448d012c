"""How several workers take one step of fine-tuning together: each has rows of every batch, and their gradients are added up.

The gradient is that of the whole batch, whoever had which of its rows, and dropout leaves out what it would leave out for one
worker. So the number of workers changes a model only by the order in which floating-point numbers are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class Share:
    """What one worker has of a batch: ``rows``, their ``places`` in the batch of ``batch_rows``, and their ``part`` of it."""

    rows: list[int]
    places: list[int]
    batch_rows: int
    part: float


def share_of(batch: list[int], rank: int, size: int) -> Share:
    """Return what worker ``rank`` of ``size`` has of a batch: every ``size``-th row, so that all have texts of like length.

    >>> share_of([7, 8, 9], 1, 2)
    Share(rows=[8], places=[1], batch_rows=3, part=0.3333333333333333)
    """
    places = list(range(rank, len(batch), size))
    part = len(places) / len(batch)
    # Who has no row takes one that counts for nothing: everybody has to take part in adding up.
    places = places or [0]
    return Share([batch[place] for place in places], places, len(batch), part)


class Team:
    """One worker alone, to whom every batch belongs as a whole."""

    rank = 0
    size = 1
    # Whether each worker keeps a part of the weights only, so that all have to take part in whatever needs them.
    sharded = False

    @property
    def leads(self) -> bool:
        """Whether this worker judges, keeps checkpoints and reports."""
        return self.rank == 0

    def share(self, batch: list[int]) -> Share:
        """Return this worker's part of a batch."""
        return share_of(batch, 0, 1)

    def dropout(self, p: float) -> nn.Dropout:
        """Return a layer that drops what the team drops."""
        return nn.Dropout(p)

    def prepare(self, encoder: nn.Module, linear: nn.Module) -> None:
        """Make modules ready to be trained by the team."""

    def add_up(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each worker's gradients by their sum."""

    def total(self, value: float) -> float:
        """Return the sum of what the workers hand in."""
        return value

    def told(self, *values: float) -> tuple[float, ...]:
        """Return what the leader hands in."""
        return values

    def whole(self, tree: Any) -> Any:
        """Return dictionaries and lists with each sharded tensor in them put together again, on the CPU."""
        return tree

    def part_of(self, value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Return of a whole tensor what belongs here, sharded as ``like`` is."""
        del like
        return value


ALONE = Team()


class JoinedTeam(Team):
    """The workers of the process group that torch.distributed is connected to."""

    def __init__(self) -> None:
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        self._device = torch.device("cuda", torch.cuda.current_device()) if distributed.get_backend() == "nccl" else None
        self._share = share_of([0], 0, 1)

    def share(self, batch: list[int]) -> Share:
        """Return this worker's part of a batch."""
        self._share = share_of(batch, self.rank, self.size)
        return self._share

    def dropout(self, p: float) -> nn.Dropout:
        """Return a layer that drops what the team drops."""
        return SharedDropout(p, lambda: self._share)

    def prepare(self, encoder: nn.Module, linear: nn.Module) -> None:
        """Let dropout leave out what it would leave out for one worker."""
        del linear
        self._share_dropout(encoder)

    def add_up(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each worker's gradients by their sum.

        torch's DistributedDataParallel would average them, and stop at parameters that nothing reads (BERT's pooler).
        """
        present = self._tensor([float(parameter.grad is not None) for parameter in parameters])
        distributed.all_reduce(present)
        sums = []
        for parameter, count in zip(parameters, present.tolist(), strict=True):
            # What has a gradient nowhere must stay without one: the optimiser would let its weights decay.
            if not count:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            sums.append(distributed.all_reduce(parameter.grad, async_op=True))
        for sum_ in sums:
            sum_.wait()

    def total(self, value: float) -> float:
        """Return the sum of what the workers hand in."""
        tensor = self._tensor([value])
        distributed.all_reduce(tensor)
        return float(tensor)

    def told(self, *values: float) -> tuple[float, ...]:
        """Return what the leader hands in."""
        tensor = self._tensor(values)
        distributed.broadcast(tensor, src=0)
        return tuple(tensor.tolist())

    def _tensor(self, values: Iterable[float]) -> torch.Tensor:
        return torch.tensor(list(values), dtype=torch.float64, device=self._device)

    def _share_dropout(self, module: nn.Module) -> None:
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, self.dropout(child.p))
            else:
                self._share_dropout(child)


class SharedDropout(nn.Dropout):
    """Dropout of a share of a batch: draws for the whole batch, as one worker would, and applies its own rows of that.

    ``present`` gives the share that is being computed.
    """

    def __init__(self, p: float, present: Callable[[], Share]) -> None:
        super().__init__(p)
        self._present = present

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the input with some of its numbers left out, the others scaled up."""
        if not self.training or not self.p:
            return input
        share = self._present()
        # DeBERTa's table of distances has no rows of the batch in it, and is the same everywhere.
        shared = len(input) == len(share.rows)
        rows = share.batch_rows if shared else len(input)
        noise = torch.empty(rows, *input.shape[1:], dtype=input.dtype, device=input.device)
        # As torch draws it on a CPU, so that one worker would have drawn the same.
        noise.bernoulli_(1.0 - self.p).div_(1.0 - self.p)
        return input * (noise[share.places] if shared else noise)
