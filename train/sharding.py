"""Workers that share out the weights too, for encoders that do not fit one of them: torch's fully sharded data parallelism."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from train.team import JoinedTeam


class ShardingTeam(JoinedTeam):
    """A team of which each worker keeps a part of each weight, its gradient and its state in the optimiser.

    Layer by layer the whole weights are put together for as long as that layer computes (FSDP2; Zhao et al. 2023, arXiv
    2304.11277).
    """

    sharded = True

    def __init__(self) -> None:
        super().__init__()
        self._mesh = init_device_mesh("cpu" if self._device is None else "cuda", (self.size,))

    def prepare(self, encoder: nn.Module, linear: nn.Module) -> None:
        """Shard the modules in place: each layer by itself, what is left of the encoder, and the head."""
        super().prepare(encoder, linear)
        for module in [*_layers(encoder), encoder, linear]:
            _shard(module, self._mesh)

    def add_up(self, parameters: Sequence[nn.Parameter]) -> None:
        """Do nothing: the backward pass has added up the gradients."""

    def whole(self, tree: Any) -> Any:
        """Return dictionaries and lists with each sharded tensor in them put together again, on the CPU."""
        if isinstance(tree, dict):
            return {name: self.whole(value) for name, value in tree.items()}
        if isinstance(tree, list):
            return [self.whole(value) for value in tree]
        return tree.full_tensor().cpu() if isinstance(tree, DTensor) else tree

    def part_of(self, value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Return of a whole tensor what belongs here, sharded as ``like`` is."""
        if not isinstance(like, DTensor) or isinstance(value, DTensor):
            return value
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def _layers(encoder: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules of the outermost lists: the layers of a transformer."""
    for child in encoder.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _layers(child)


def _shard(module: nn.Module, mesh: DeviceMesh) -> None:
    fully_shard(module, mesh=mesh)
    if isinstance(module, FSDPModule):
        # Sums, not means; and gloo has no mean of its own.
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)
