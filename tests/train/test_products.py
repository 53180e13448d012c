"""Products in bfloat16: near those in fp32, gradients included, and gone when the block ends."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.train.toys import toy_rows
from train.base import Base
from train.products import bf16_products
from train.tensors import pad


@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_fp32_but_for_rounding(bias: bool) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(48, 20, bias=bias), torch.randn(3, 7, 48, requires_grad=True)
    plain = layer(x)
    plain.square().sum().backward()
    wanted = [x.grad, *(parameter.grad for parameter in layer.parameters())]
    x.grad = None
    layer.zero_grad()
    with bf16_products(layer):
        rounded = layer(x)
    rounded.square().sum().backward()
    torch.testing.assert_close(rounded, plain, atol=0.03, rtol=0.03)
    assert not torch.equal(rounded, plain)
    assert rounded.dtype == torch.float32
    for found, expected in zip([x.grad, *(parameter.grad for parameter in layer.parameters())], wanted, strict=True):
        assert found is not None
        assert expected is not None
        assert float((found - expected).norm() / expected.norm()) < 0.02


def test_an_encoder_is_as_it_was_when_the_block_ends(base: Base) -> None:
    ids, mask = pad([encoding.ids for encoding in base.tokenizer.encode_batch([row.text for row in toy_rows(8)])])
    before = copy.deepcopy(base.encoder.state_dict())
    expected = base.encoder(ids, mask)
    with bf16_products(base.encoder):
        rounded = base.encoder(ids, mask)
    assert 0 < float((rounded - expected).abs().max()) < 0.02
    assert torch.equal(base.encoder(ids, mask), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.encoder.state_dict().items())
    assert base.digest() == base.digest()
