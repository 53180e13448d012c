"""Attention as one node: one for each layer, with the numbers of torch; what does not fit it is exported all the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers

from core.encoder import OnnxEncoder
from tests.train.toys import toy_tokenizer
from train import attention
from train.base import Base, load_base
from train.encode import VARIANTS
from train.export import MOST_GAP, export_encoder
from train.tensors import embed_ids

_TEXTS = ["why", "the card is late again today", "", "refund my order " * 9]
_SIZE = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def _nodes(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


def _base(folder: Path, config: transformers.PretrainedConfig) -> Base:
    torch.manual_seed(0)
    model: Any = transformers.AutoModel
    model.from_config(config).save_pretrained(folder)
    toy_tokenizer().save(str(folder / "tokenizer.json"))
    return load_base(str(folder))


def test_each_layer_has_one_node_and_gives_what_torch_gives(base: Base, tmp_path: Path) -> None:
    exported = export_encoder(base, tmp_path, _TEXTS, None)
    ids = exported.tokenize(_TEXTS, max_tokens=48)
    layers = base.encoder.transformer.config.num_hidden_layers  # type: ignore[union-attr] # nn.Module hides it
    for variant in ("fp32", "int8"):
        found = _nodes(exported.folder / VARIANTS[variant])
        assert (found["MultiHeadAttention"], found["Softmax"]) == (layers, 0)
    # Of texts of unlike lengths all but one are padded, and what is padded must not be attended to.
    served = OnnxEncoder(exported.folder / VARIANTS["fp32"], threads=1).embed(ids)
    np.testing.assert_allclose(served, embed_ids(base, ids), atol=1e-5)


def test_heads_that_share_keys_and_look_back_alone_are_as_torch_has_them(tmp_path: Path) -> None:
    base = _base(tmp_path / "llama", transformers.LlamaConfig(**_SIZE, num_key_value_heads=2))  # type: ignore[arg-type]
    exported = export_encoder(base, tmp_path, _TEXTS, None)
    ids = exported.tokenize(_TEXTS, max_tokens=48)
    assert _nodes(exported.folder / VARIANTS["fp32"])["MultiHeadAttention"] == 2
    np.testing.assert_allclose(exported.embed_ids(ids, "fp32"), embed_ids(base, ids), atol=1e-5)


def test_attention_that_is_more_than_the_node_computes_is_traced_as_it_is(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = base.encoder.transformer
    query = torch.ones(1, 2, 3, 4)
    with pytest.raises(attention.NotOneNode, match="softcap"):
        attention._attend(module, query, query, query, None, softcap=30.0)
    module.is_causal = True  # type: ignore[assignment] # any attribute will do
    with pytest.raises(attention.NotOneNode, match="causal"):
        attention._attend(module, query, query, query, None)

    def refuse(*_: object, **__: object) -> None:
        raise attention.NotOneNode("position_bias")

    monkeypatch.setattr(attention._Attention, "apply", refuse)
    exported = export_encoder(base, tmp_path, _TEXTS, None)
    assert exported.facts.encoder_gap <= MOST_GAP
    assert _nodes(exported.folder / VARIANTS["fp32"])["MultiHeadAttention"] == 0


def test_an_encoder_attends_as_before_when_it_has_been_traced(base: Base) -> None:
    config = base.encoder.transformer.config
    before = config._attn_implementation  # type: ignore[union-attr] # nn.Module hides it
    with attention.one_node(base.encoder.transformer):
        assert config._attn_implementation != before  # type: ignore[union-attr] # as above
    assert config._attn_implementation == before  # type: ignore[union-attr] # as above
