"""Making an encoder smaller: fewer layers, a smaller vocabulary, products of lower rank; and teaching it its old answers.

Each changes a base in place. What comes out is an encoder like any other, which plain transformers can open.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn

from core.errors import EncoderError
from train.base import Base, token_embeddings
from train.finetune import shuffled_batches
from train.optimiser import warm_up_and_decay
from train.tensors import pad

FloatMatrix = NDArray[np.float32]

# Kinds whose layers are alike and know nothing of their own number.
_ALIKE = ("bert", "roberta", "xlm-roberta", "electra", "camembert", "distilbert", "mpnet")
# With fewer layers the rest have to learn what the others did; from 1e-4 to 1e-3 is usual where an encoder is distilled.
_LEARNING_RATE = 3e-4
_WARMUP_RATIO = 0.1
_BATCH_TEXTS = 32


def drop_layers(base: Base, keep: int) -> None:
    """Keep ``keep`` of the layers, evenly from the first to the last (DistilBERT, Sanh et al. 2019, arXiv 1910.01108).

    Raises:
        EncoderError: its layers cannot be left out, or there are not more than ``keep``.
    """
    config: Any = base.encoder.transformer.config
    if config.model_type not in _ALIKE:
        raise EncoderError(f"{base.name} is a {config.model_type}; layers are left out of {', '.join(_ALIKE)}")
    owner, name, layers = next(_stacks(base.encoder.transformer, int(config.num_hidden_layers)))
    if not 1 <= keep < len(layers):
        raise EncoderError(f"{base.name} has {len(layers)} layers; {keep} cannot be kept of them")
    kept = np.unique(np.linspace(0, len(layers) - 1, keep).round().astype(int))
    setattr(owner, name, nn.ModuleList(layers[int(place)] for place in kept))
    config.num_hidden_layers = len(kept)
    base.changed()


def _stacks(transformer: nn.Module, count: int) -> Iterator[tuple[nn.Module, str, nn.ModuleList]]:
    for module in transformer.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == count:
                yield module, name, child


def prune_vocabulary(base: Base, texts: Sequence[str]) -> int:
    """Keep the pieces that ``texts`` need, single signs and special tokens, and return how many that are.

    A word that needs a piece which has gone is read in smaller ones.

    Raises:
        EncoderError: the tokenizer is not a WordPiece, whose pieces can go one by one.
    """
    body = json.loads(base.tokenizer.to_str())
    if body["model"]["type"] != "WordPiece":
        raise EncoderError(f"{base.name} has a tokenizer of the kind {body['model']['type']}; pieces are left out of WordPiece")
    pieces: dict[str, int] = body["model"]["vocab"]
    prefix = body["model"]["continuing_subword_prefix"]
    needed = {place for encoding in base.tokenizer.encode_batch(list(texts)) for place in encoding.ids}
    special = {token["content"] for token in body["added_tokens"]} | {body["model"]["unk_token"]}
    kept = [
        piece
        for piece, place in sorted(pieces.items(), key=lambda item: item[1])
        if place in needed or piece in special or len(piece.removeprefix(prefix)) == 1
    ]
    missing = [token["content"] for token in body["added_tokens"] if token["content"] not in pieces]
    names = [*kept, *missing]
    old = {**pieces, **{token["content"]: token["id"] for token in body["added_tokens"]}}
    new = {name: place for place, name in enumerate(names)}
    moved = {old[name]: place for name, place in new.items()}
    body["model"]["vocab"] = {name: new[name] for name in kept}
    for token in body["added_tokens"]:
        token["id"] = new[token["content"]]
    body["post_processor"] = _renumbered(body["post_processor"], moved)
    base.tokenizer = Tokenizer.from_str(json.dumps(body, ensure_ascii=False))
    _select_embeddings(base, [old[name] for name in names], moved)
    base.changed()
    return len(names)


def _renumbered(processor: Any, moved: dict[int, int]) -> Any:
    """Return what adds special tokens with their new numbers: ``["[SEP]", 102]`` pairs, and ``ids`` of a template."""
    if isinstance(processor, dict):
        return {
            key: [moved[place] for place in value] if key == "ids" else _renumbered(value, moved)
            for key, value in processor.items()
        }
    if isinstance(processor, list):
        if len(processor) == 2 and isinstance(processor[0], str) and isinstance(processor[1], int):
            return [processor[0], moved[processor[1]]]
        return [_renumbered(value, moved) for value in processor]
    return processor


def _select_embeddings(base: Base, places: Sequence[int], moved: dict[int, int]) -> None:
    transformer: Any = base.encoder.transformer
    old = token_embeddings(base)
    padding = None if old.padding_idx is None else moved.get(old.padding_idx)
    fresh = nn.Embedding(len(places), old.embedding_dim, padding_idx=padding)
    with torch.no_grad():
        fresh.weight.copy_(old.weight[torch.tensor(places)])
    transformer.set_input_embeddings(fresh)
    transformer.config.vocab_size = len(places)
    transformer.config.pad_token_id = padding


class LowRank(nn.Module):
    """A linear layer as two: ``x · down · up + bias``, from the best approximation of that rank (Eckart and Young 1936)."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        left, values, right = torch.linalg.svd(linear.weight.detach(), full_matrices=False)
        root = values[:rank].sqrt()
        self.up = nn.Parameter(left[:, :rank] * root)
        self.down = nn.Parameter(root[:, None] * right[:rank])
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product."""
        return nn.functional.linear(nn.functional.linear(x, self.down), self.up, self.bias)

    def folded(self) -> nn.Linear:
        """Return the linear layer that gives the same."""
        out, into = self.up.shape[0], self.down.shape[1]
        linear = nn.Linear(into, out, bias=self.bias is not None)
        with torch.no_grad():
            linear.weight.copy_(self.up @ self.down)
            if self.bias is not None:
                linear.bias.copy_(self.bias)
        return linear


def lower_rank(base: Base, rank: int) -> int:
    """Put two products of rank ``rank`` in the place of each that is dearer, and return how many; see :func:`fold`.

    Raises:
        EncoderError: none is.
    """
    found = [
        (module, name, child)
        for module in base.encoder.transformer.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.Linear) and rank * (child.in_features + child.out_features) < child.weight.numel()
    ]
    if not found:
        raise EncoderError(f"{base.name} has no product that rank {rank} would make smaller")
    for module, name, child in found:
        setattr(module, name, LowRank(child, rank))
    base.changed()
    return len(found)


def fold(base: Base) -> None:
    """Multiply out what :func:`lower_rank` divided, so that the encoder has the layout of its kind again.

    The products keep their rank: whoever exports them may divide them once more.
    """
    for module in list(base.encoder.transformer.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LowRank):
                setattr(module, name, child.folded())
    base.changed()


def imitate(
    base: Base,
    ids: Sequence[list[int]],
    wanted: FloatMatrix,
    *,
    epochs: int,
    seed: int = 0,
    on_share: Callable[[float], None] = lambda _: None,
) -> None:
    """Train ``base`` in place to give each of ``ids`` the embedding ``wanted`` (n, h) that the larger encoder gave.

    The loss is the squared distance of the two unit vectors. Token embeddings stay as they are.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    tokens = token_embeddings(base)
    tokens.weight.requires_grad_(False)
    parameters = [parameter for parameter in base.encoder.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, weight_decay=0.01, fused=True)
    aim = torch.from_numpy(wanted)
    steps, done = epochs * -(-len(ids) // _BATCH_TEXTS), 0
    # Without dropout: the aim is one vector for each text, and noise in reaching for it is not wanted.
    base.encoder.eval()
    try:
        for _ in range(epochs):
            for batch in shuffled_batches([len(sequence) for sequence in ids], batch_texts=_BATCH_TEXTS, random=random):
                for group in optimiser.param_groups:
                    group["lr"] = _LEARNING_RATE * warm_up_and_decay(done / steps, _WARMUP_RATIO)
                loss = (base.encoder(*pad([ids[place] for place in batch])) - aim[batch]).square().sum(dim=1).mean()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
                done += 1
                on_share(min(1.0, done / steps))
    finally:
        tokens.weight.requires_grad_(True)
        base.changed()
