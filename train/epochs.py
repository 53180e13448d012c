"""Epochs of fine-tuning: in which batches the rows come, and what validation rows say when one is over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from core.batches import plan_batches
from core.classifier import softmax
from train.base import Base
from train.head import fit_temperature
from train.measure import log_loss
from train.stepping import TokenRows
from train.tensors import embed_ids


@torch.inference_mode()
def judge_epoch(base: Base, linear: nn.Linear, validation: TokenRows) -> tuple[float, float]:
    """Return log loss and accuracy of the validation rows, of which there is at least one.

    The loss is that at the temperature that suits best, as what is served has one. Of two epochs the later one is as a rule the
    surer of itself, which a plain loss holds against it however often it is right (Ranjan et al. 2024, arXiv 2404.07815).
    """
    embeddings = torch.from_numpy(embed_ids(base, validation.ids)).to(linear.weight.device)
    # By the layer itself, since of shared-out weights nobody has the whole matrix.
    scores = linear(embeddings).cpu().numpy()
    temperature = np.float32(fit_temperature(scores, validation.labels))
    accuracy = float((scores.argmax(axis=1) == validation.labels).mean())
    return log_loss(softmax(scores / temperature), validation.labels), accuracy


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
