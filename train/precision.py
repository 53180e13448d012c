"""Whether bfloat16 pays for fine-tuning on this machine, found out by a few steps of each kind."""

from __future__ import annotations

import copy
from dataclasses import replace
from time import perf_counter

import numpy as np
import torch
from torch import nn

from train.base import Base
from train.request import FinetuneSettings, Precision
from train.stepping import TokenRows, Trainer, most_epochs

# Below this many steps the trial, which costs eight, eats what it could save.
_LEAST_STEPS = 160
_WARM_STEPS = 1
_TIMED_STEPS = 3
# Trial steps are few and a machine with other work is noisy: a lead below a tenth may be none.
_LEAST_LEAD_RATIO = 0.1
# The same batches must give the same loss but for rounding.
_MOST_LOSS_GAP_RATIO = 0.02


def faster_precision(base: Base, linear: nn.Linear, rows: TokenRows, settings: FinetuneSettings) -> Precision:
    """Return the precision with the quicker steps, ``fp32`` where bfloat16 is not clearly ahead or gives another loss.

    Steps are tried on copies, both ways in turn on the same batches, so that ``base`` and ``linear`` stay as they are.
    """
    steps = most_epochs(rows, settings) * rows.per_epoch(settings.replay_ratio) // settings.batch_texts
    # A budget of time is for somebody who waits: nothing of it goes into a trial.
    if settings.budget_s or steps < _LEAST_STEPS or not _has_bf16_products():
        return "fp32"
    seconds: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    losses: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    trainers = {precision: _trainer(base, linear, rows, settings, precision) for precision in seconds}
    order = np.random.default_rng(settings.seed).permutation(len(rows.ids))
    for number in range(_WARM_STEPS + _TIMED_STEPS):
        batch = order[number * settings.batch_texts :][: settings.batch_texts].tolist()
        for precision, trainer in trainers.items():
            torch.manual_seed(settings.seed)
            began = perf_counter()
            loss = trainer.step(batch).loss
            if number >= _WARM_STEPS:
                seconds[precision].append(perf_counter() - began)
                losses[precision].append(loss)
    gap = abs(float(np.mean(losses["bf16"])) - float(np.mean(losses["fp32"])))
    alike = gap <= _MOST_LOSS_GAP_RATIO * max(1e-6, float(np.mean(losses["fp32"])))
    # The quickest of each: what else the machine does only ever makes a step slower.
    ahead = min(seconds["bf16"]) <= (1.0 - _LEAST_LEAD_RATIO) * min(seconds["fp32"])
    return "bf16" if alike and ahead else "fp32"


def _trainer(base: Base, linear: nn.Linear, rows: TokenRows, settings: FinetuneSettings, precision: Precision) -> Trainer:
    own = replace(base, encoder=copy.deepcopy(base.encoder))
    trainer = Trainer(own, copy.deepcopy(linear), rows, settings, precision)
    trainer.train()
    return trainer


def _has_bf16_products() -> bool:
    """Return whether the processor multiplies bfloat16 by itself; elsewhere it is emulated, and slower."""
    return bool(torch.cpu._is_avx512_bf16_supported())
