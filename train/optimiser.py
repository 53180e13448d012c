"""AdamW as fine-tuning asks for it: a rate that follows a schedule and differs by layer, and pulls to zero or to the start.

Weight decay, L1 and L2-SP are decoupled from the gradient, as Loshchilov and Hutter 2019 (arXiv 1711.05101) have it for the
first: they act on the weights after the step, in proportion to the rate, and AdamW's scaling does not touch them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from core.finetuning import FinetuneSettings


class Optimiser:
    """Updates the parameters in ``named``, those of the encoder under names that begin with ``encoder.``.

    ``shares`` are what the rate of a parameter is of the whole rate, 1 where it is not named. The weights as they are now are
    the start that L2-SP pulls the encoder to.
    """

    def __init__(self, named: Mapping[str, nn.Parameter], shares: Mapping[str, float], settings: FinetuneSettings) -> None:
        self._settings = settings
        self._parameters = list(named.values())
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in named.items():
            groups.setdefault(shares.get(name, 1.0), []).append(parameter)
        self._adamw = torch.optim.AdamW(
            [{"params": parameters, "share": share} for share, parameters in groups.items()],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._starts: dict[nn.Parameter, torch.Tensor] = {}
        if settings.l2_start:
            self._starts = {
                parameter: parameter.detach().clone() for name, parameter in named.items() if name.startswith("encoder.")
            }

    def step(self, ratio: float) -> None:
        """Update from the gradients that are there, and forget them; ``ratio`` is the share of training that is done."""
        settings = self._settings
        share = rate_share(ratio, settings)
        for group in self._adamw.param_groups:
            group["lr"] = settings.learning_rate * share * group["share"]
        if settings.clip_norm:
            nn.utils.clip_grad_norm_(self._parameters, settings.clip_norm)
        self._adamw.step()
        if self._starts or settings.l1:
            self._pull()
        self._adamw.zero_grad(set_to_none=True)

    @torch.no_grad()
    def _pull(self) -> None:
        for group in self._adamw.param_groups:
            # What had no gradient, such as a pooler that nothing reads, is not moved by anything else either.
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in moved:
                if parameter in self._starts:
                    parameter.lerp_(self._starts[parameter], min(1.0, group["lr"] * self._settings.l2_start))
                size = group["lr"] * self._settings.l1
                # Gains of norms are meant to be about 1, and biases are few: only matrices are worth having zeros in.
                if size and parameter.dim() > 1:
                    parameter.sub_(parameter.clamp(-size, size))

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` takes."""
        return self._adamw.state_dict()

    def load_state_dict(
        self,
        state: dict[str, Any],
        part_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = lambda value, _: value,
    ) -> None:
        """Go on from a state; ``part_of`` gives of a tensor as large as a parameter what belongs to that parameter here."""
        ordered = [parameter for group in self._adamw.param_groups for parameter in group["params"]]
        kept = {
            place: {
                name: part_of(value, ordered[place]) if getattr(value, "shape", None) == ordered[place].shape else value
                for name, value in found.items()
            }
            for place, found in state["state"].items()
        }
        self._adamw.load_state_dict({**state, "state": kept})


def rate_share(ratio: float, settings: FinetuneSettings) -> float:
    """Return the share of the learning rate at ``ratio`` of training, after the schedule of ``settings``."""
    if settings.schedule == "linear" or ratio < settings.warmup_ratio:
        return warm_up_and_decay(ratio, settings.warmup_ratio)
    gone = (ratio - settings.warmup_ratio) / (1.0 - settings.warmup_ratio)
    match settings.schedule:
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * gone))
        case "step":
            return settings.step_factor ** min(settings.step_drops, int(gone * (settings.step_drops + 1)))
        case "constant":
            return 1.0


def warm_up_and_decay(ratio: float, warmup_ratio: float) -> float:
    """Return the share of the learning rate at ``ratio`` of training: up in a line, then down to zero in a line."""
    # The first step must move: at ratio 0 a pure line would waste it.
    if ratio < warmup_ratio:
        return max(0.01, ratio / warmup_ratio)
    return (1.0 - ratio) / max(1e-9, 1.0 - warmup_ratio)


def shares_by_layer(encoder: nn.Module, decay: float) -> dict[str, float]:
    """Return the share of the rate of each parameter of ``encoder``: ``decay`` to the number of layers from the head down.

    The layers are the outermost list of modules. What stands before it (embeddings) is below the lowest layer, what stands
    behind it (a last norm) on top of the highest (Howard and Ruder 2018, arXiv 1801.06146; Clark et al. 2020, 2003.10555).
    """
    if decay == 1.0:
        return {}
    lists = [(name, module) for name, module in encoder.named_modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        return {}
    prefix, layers = min(lists, key=lambda found: (found[0].count("."), -len(found[1])))
    depth = len(layers)
    shares: dict[str, float] = {}
    below = True
    for name, _ in encoder.named_parameters():
        inside = name.startswith(f"{prefix}.")
        below = below and not inside
        layer = int(name[len(prefix) + 1 :].split(".")[0]) if inside else -1 if below else depth - 1
        shares[name] = decay ** (depth - layer)
    return shares


def set_dropout(encoder: nn.Module, rate: float) -> int:
    """Let every dropout layer of ``encoder`` drop with probability ``rate``, in place, and return how many there are."""
    found = [module for module in encoder.modules() if isinstance(module, nn.Dropout)]
    for module in found:
        module.p = rate
    return len(found)
