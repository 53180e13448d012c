"""Attention as one node of an exported graph.

Traced as torch computes it, the attention of a layer is some twenty nodes, which write scores to memory several times. ONNX
Runtime's ``MultiHeadAttention`` (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md) does the same in
one pass. It is put in place while the graph is traced, through the door that transformers leaves open for attention of one's
own, so that no pattern of nodes has to be recognised afterwards; encoders that do not use that door are traced as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

_DOMAIN = "com.microsoft"
_NAME = "one_node"
# What some models add to the scores or to their sum; the node knows none of it.
_FOREIGN = ("position_bias", "softcap", "s_aux")


class NotOneNode(Exception):
    """This attention is more than the node computes."""


class _Attention(torch.autograd.Function):
    """Queries, keys and values (n, heads, t, d) and what is added to the scores (n, 1, t, t) to their sums (n, t, heads, d)."""

    @staticmethod
    def forward(
        _: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scale: float,
        heads: int,
        numbers: int,
    ) -> torch.Tensor:
        del heads, numbers
        found = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        return found.transpose(1, 2)

    @staticmethod
    def symbolic(g: Any, query: Any, key: Any, value: Any, mask: Any, scale: float, heads: int, numbers: int) -> Any:
        absent = g.op("prim::Constant")
        absent.setType(torch._C.OptionalType.ofTensor())

        def shape(*sizes: int) -> Any:
            return g.op("Constant", value_t=torch.tensor(sizes))

        # The node takes the heads of a token side by side, which is how the layers before gave them: this undoes what the model
        # did, and ONNX Runtime strikes out the pair.
        together = [g.op("Reshape", g.op("Transpose", x, perm_i=[0, 2, 1, 3]), shape(0, 0, -1)) for x in (query, key, value)]
        found = g.op(
            f"{_DOMAIN}::MultiHeadAttention", *together, absent, absent, mask or absent, num_heads_i=heads, scale_f=scale
        )
        apart = g.op("Reshape", found, shape(0, 0, heads, -1))
        apart.setType(value.type().with_sizes([None, None, heads, numbers]))
        return apart


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Return what the attention of a layer gives (n, t, heads, d), in the form in which transformers asks for it."""
    foreign = [name for name in _FOREIGN if others.get(name) is not None]
    if foreign or (attention_mask is None and getattr(module, "is_causal", False)):
        raise NotOneNode(", ".join(foreign) or "causal without a mask")
    # Several heads of queries may share keys and values.
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scale = float(query.shape[-1] ** -0.5 if scaling is None else scaling)
    heads, numbers = int(query.shape[1]), int(value.shape[3])
    found = _Attention.apply(query, key, value, attention_mask, scale, heads, numbers)  # type: ignore[no-untyped-call] # torch leaves it untyped
    return found, None


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, eager_mask)


@contextmanager
def one_node(transformer: nn.Module) -> Iterator[None]:
    """Let ``transformer`` compute attention as one node while the block runs, if it takes its attention from outside."""
    config: Any = transformer.config
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before
