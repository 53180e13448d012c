"""Token sequences as torch tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from core.batches import plan_batches
from train.base import Base


def pad(ids: Sequence[Sequence[int]], width: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and mask, both (n, t), padded to the longest, or to a ``width`` that is no less."""
    longest = width or max(map(len, ids))
    tokens = torch.zeros(len(ids), longest, dtype=torch.long)
    mask = torch.zeros(len(ids), longest, dtype=torch.long)
    for row, sequence in enumerate(ids):
        tokens[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    return tokens, mask


@torch.inference_mode()
def embed_ids(base: Base, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Return the embeddings (n, h) that torch gives token sequences, in their order."""
    base.encoder.eval()
    device = next(base.encoder.parameters()).device
    out = np.empty((len(ids), base.hidden), dtype=np.float32)
    for batch in plan_batches([len(sequence) for sequence in ids], max_texts=64, max_tokens=8192):
        tokens, mask = pad([ids[place] for place in batch])
        out[batch] = base.encoder(tokens.to(device), mask.to(device)).float().cpu().numpy()
    return out
