"""Model soups: the weights of several fine-tunings of one encoder averaged into one model, which costs what one costs.

Fine-tunings that started alike end in one valley of the loss, and the middle of it generalises better than its edges (Wortsman
et al. 2022, arXiv 2203.05482).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from core.bundle import TUNED, EncoderSpec, Manifest
from core.classifier import Head
from core.errors import InputError
from core.labels import LabelSet
from train.base import Base, load_base

_HINT = "--how distill takes versions of any kind"


@dataclass(frozen=True)
class Ingredient:
    """A version whose encoder was trained: the encoder, and the head that was trained with it, in the order of the labels."""

    version: str
    base: Base
    head: Head


def read_ingredient(version: str, folder: Path, manifest: Manifest, labels: LabelSet) -> Ingredient:
    """Return what can be averaged of a version.

    Raises:
        InputError: its encoder was not trained, or it was made before bundles kept the head of the training.
    """
    encoder = trained_encoder(version, folder, manifest)
    base = load_base(str(folder / "encoder"))
    base.name = encoder.base
    return Ingredient(version, base, _in_order(Head.load(folder / TUNED), manifest.labels, labels))


def trained_encoder(version: str, folder: Path, manifest: Manifest) -> EncoderSpec:
    """Return the encoder of a version; raise ``InputError`` where the head that was trained with it is not kept."""
    if manifest.encoder is None or not (folder / TUNED).is_file():
        raise InputError(
            f"{version} keeps no encoder that was trained together with its head, so there are no weights of it to average; "
            f"versions of `hone train --speed full` and `hone learn --speed full` do, where training helped on validation "
            f"rows, and {_HINT}"
        )
    return manifest.encoder


def check_alike(ingredients: Sequence[Ingredient]) -> None:
    """Raise ``InputError`` unless all started from one encoder and read texts as the same tokens."""
    first = ingredients[0]
    shapes = {name: tensor.shape for name, tensor in first.base.encoder.state_dict().items()}
    for other in ingredients[1:]:
        pair = f"{first.version} and {other.version}"
        if first.base.name != other.base.name:
            raise InputError(
                f"{pair} started from different encoders, {first.base.name} and {other.base.name}; weights can be averaged "
                f"where the start is the same, and {_HINT}"
            )
        if {name: tensor.shape for name, tensor in other.base.encoder.state_dict().items()} != shapes:
            raise InputError(f"the encoders of {pair} have other shapes, so their weights cannot be averaged; {_HINT}")
        if first.base.tokenizer.to_str() != other.base.tokenizer.to_str():
            raise InputError(f"{pair} divide texts into other tokens, so their weights cannot be averaged; {_HINT}")
    if len({ingredient.base.digest() for ingredient in ingredients}) < len(ingredients):
        raise InputError("two of the versions have the same encoder to the bit; the average would be one of them")


def average(ingredients: Sequence[Ingredient]) -> tuple[Base, Head]:
    """Return an encoder of its own and the head that belongs to it: the means of all weights."""
    first = ingredients[0]
    states = [ingredient.base.encoder.state_dict() for ingredient in ingredients]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(dim=0) if tensor.is_floating_point() else tensor
        for name, tensor in states[0].items()
    }
    own = first.base
    base = Base(own.name, copy.deepcopy(own.encoder).eval(), own.tokenizer, own.hidden, own.max_positions)
    base.encoder.load_state_dict(mean)
    base.changed()
    heads = [ingredient.head for ingredient in ingredients]
    matrices = [head.encoder for head in heads if head.encoder is not None]
    return base, Head(np.mean(matrices, axis=0), None, np.mean([head.bias for head in heads], axis=0))


def _in_order(head: Head, names: Sequence[str], labels: LabelSet) -> Head:
    places = [names.index(name) for name in labels]
    if head.encoder is None:
        raise InputError("a trained head is one over embeddings")
    return Head(np.ascontiguousarray(head.encoder[:, places]), None, head.bias[places])
