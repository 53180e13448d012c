"""Training an encoder through small matrices beside its own, and adding these to them (LoRA, Hu et al. 2021, arXiv 2106.09685).

What is large stays as it is: it needs neither gradients nor the optimiser's two numbers for each of its own. Merged, the
encoder is an ordinary one, which is exported, served and trained on like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core.errors import EncoderError, InputError
from core.finetuning import FinetuneSettings
from train.base import Base

# Reads nothing that is served: embeddings are means over the tokens.
_UNUSED = r".*pooler.*"


@contextmanager
def adapted(base: Base, settings: FinetuneSettings) -> Iterator[None]:
    """Let ``base`` train through adapters of rank ``settings.lora_rank`` within the block, and merge them at its end.

    Without a rank nothing is done. What the encoder has learned is merged however the block ends.

    Raises:
        EncoderError: the extra ``lora`` is not installed.
        InputError: the encoder has no layers of the names that were asked for.
    """
    if not settings.lora_rank:
        yield
        return
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise EncoderError("lora_rank takes peft: pip install 'hone[lora]', or set it to 0 to train all weights") from None
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha or 2 * settings.lora_rank,
        target_modules=settings.lora_targets.split("+") if settings.lora_targets else "all-linear",
        exclude_modules=_UNUSED,
        lora_dropout=settings.lora_dropout,
    )
    # Drawn at random, so drawn alike for one seed.
    torch.manual_seed(settings.seed)
    try:
        wrapped = get_peft_model(base.encoder.transformer, config)
    except ValueError as error:
        raise InputError(
            f"{base.name} has no linear layers called {settings.lora_targets!r}; leave lora_targets empty for all of them"
        ) from error
    base.encoder.transformer = wrapped
    try:
        yield
    finally:
        base.encoder.transformer = wrapped.merge_and_unload()
        base.encoder.requires_grad_(True)
