"""What may be asked of the optimiser, each compared with what its formula says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import AlbertConfig, AlbertModel, DistilBertConfig, DistilBertModel, GPT2Config, GPT2Model

from core.errors import InputError
from core.finetuning import FinetuneSettings, Schedule
from tests.train.toys import SIGNAL, toy_rows
from train.base import Base, PooledEncoder
from train.optimiser import Optimiser, rate_share, set_dropout, shares_by_layer
from train.stepping import TokenRows, Trainer

_SETTINGS = FinetuneSettings(learning_rate=0.1, weight_decay=0.0, warmup_ratio=0.0, schedule="constant", clip_norm=0.0)


def _parameters() -> dict[str, nn.Parameter]:
    torch.manual_seed(0)
    return {
        "encoder.layer": nn.Parameter(torch.randn(4, 3)),
        "encoder.norm": nn.Parameter(torch.ones(3)),
        "head.weight": nn.Parameter(torch.randn(2, 3)),
    }


def _stepped(
    settings: FinetuneSettings, shares: dict[str, float] | None = None, *, gradient: float = 1.0
) -> dict[str, nn.Parameter]:
    """Return the parameters after one step along a gradient that is ``gradient`` everywhere."""
    named = _parameters()
    optimiser = Optimiser(named, shares or {}, settings)
    for parameter in named.values():
        parameter.grad = torch.full_like(parameter, gradient)
    optimiser.step(0.0)
    assert all(parameter.grad is None for parameter in named.values())
    return named


@given(st.floats(0.0, 1.0), st.floats(0.0, 0.9), st.sampled_from(["linear", "cosine", "constant", "step"]))
def test_a_rate_never_leaves_its_bounds(ratio: float, warmup: float, schedule: Schedule) -> None:
    assert 0.0 <= rate_share(ratio, FinetuneSettings(schedule=schedule, warmup_ratio=warmup)) <= 1.0


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("linear", [0.01, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]),
        ("cosine", [0.01, 0.5, 1.0, 0.853553, 0.5, 0.146447, 0.0]),
        ("constant", [0.01, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("step", [0.01, 0.5, 1.0, 1.0, 0.1, 0.01, 0.01]),
    ],
)
def test_each_schedule_warms_up_and_then_goes_its_way(schedule: Schedule, shares: list[float]) -> None:
    settings = FinetuneSettings(schedule=schedule, warmup_ratio=0.2, step_drops=2, step_factor=0.1)
    found = [rate_share(ratio, settings) for ratio in (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)]
    np.testing.assert_allclose(found, shares, atol=1e-6)


def test_a_step_of_adamw_is_as_long_as_the_rate_and_each_layer_has_its_own() -> None:
    before = _parameters()
    after = _stepped(_SETTINGS, {"encoder.layer": 0.5, "encoder.norm": 0.25})
    moved = {name: float((before[name] - after[name]).mean()) for name in before}
    assert moved == pytest.approx({"encoder.layer": 0.05, "encoder.norm": 0.025, "head.weight": 0.1}, rel=1e-4)


def test_l2_takes_a_share_of_each_weight() -> None:
    before, plain, decayed = _parameters(), _stepped(_SETTINGS), _stepped(replace(_SETTINGS, weight_decay=0.5))
    for name in before:
        torch.testing.assert_close(decayed[name], plain[name] - 0.1 * 0.5 * before[name])


def test_l1_leaves_zeros_in_matrices_and_norms_alone() -> None:
    plain, shrunk = _stepped(_SETTINGS), _stepped(replace(_SETTINGS, l1=5.0))
    for name in ("encoder.layer", "head.weight"):
        expected = plain[name].sign() * (plain[name].abs() - 0.1 * 5.0).clamp(min=0.0)
        torch.testing.assert_close(shrunk[name].detach(), expected.detach())
        assert (shrunk[name] == 0).any()
    torch.testing.assert_close(shrunk["encoder.norm"], plain["encoder.norm"])


def test_l2_to_the_start_pulls_the_encoder_back_and_leaves_the_head() -> None:
    before, plain, pulled = _parameters(), _stepped(_SETTINGS), _stepped(replace(_SETTINGS, l2_start=5.0))
    for name in ("encoder.layer", "encoder.norm"):
        torch.testing.assert_close(pulled[name], plain[name] + 0.5 * (before[name] - plain[name]))
    torch.testing.assert_close(pulled["head.weight"], plain["head.weight"])


def test_a_gradient_is_cut_to_its_longest() -> None:
    named = {"head.bias": nn.Parameter(torch.zeros(4))}
    optimiser = Optimiser(named, {}, replace(_SETTINGS, clip_norm=1.0))
    named["head.bias"].grad = torch.full((4,), 50.0)
    seen: list[torch.Tensor] = []
    optimiser._adamw.register_step_pre_hook(lambda *_: seen.append(named["head.bias"].grad.clone()))  # type: ignore[union-attr]
    optimiser.step(0.0)
    assert float(seen[0].norm()) == pytest.approx(1.0, rel=1e-4)


_TINY: dict[str, Any] = {"vocab_size": 40, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.mark.parametrize(
    ("model", "shares"),
    [
        (
            lambda: GPT2Model(GPT2Config(vocab_size=40, n_embd=8, n_layer=2, n_head=2)),
            {"wte.": 0.125, "wpe.": 0.125, "h.0.": 0.25, "h.1.": 0.5, "ln_f.": 0.5},
        ),
        (
            lambda: DistilBertModel(DistilBertConfig(vocab_size=40, dim=8, n_layers=2, n_heads=2, hidden_dim=8)),
            {"embeddings.": 0.125, "transformer.layer.0.": 0.25, "transformer.layer.1.": 0.5},
        ),
        # All of its layers are one and the same.
        (
            lambda: AlbertModel(AlbertConfig(**_TINY, embedding_size=8, num_hidden_layers=3)),
            {
                "embeddings.": 0.25,
                "encoder.embedding_hidden_mapping_in.": 0.25,
                "encoder.albert_layer_groups.0": 0.5,
                "pooler.": 0.5,
            },
        ),
    ],
    ids=["gpt2", "distilbert", "albert"],
)
def test_a_layer_learns_more_slowly_than_the_one_above(model: object, shares: dict[str, float]) -> None:
    encoder = PooledEncoder(model())  # type: ignore[operator] # a lambda
    found = shares_by_layer(encoder, 0.5)
    assert set(found) == {name for name, _ in encoder.named_parameters()}
    for name, share in found.items():
        assert {share} == {value for start, value in shares.items() if name.startswith(f"transformer.{start}")}, name
    assert shares_by_layer(encoder, 1.0) == {}


def _rows(base: Base, count: int = 24) -> TokenRows:
    rows = toy_rows(count)
    ids = [encoding.ids for encoding in base.tokenizer.encode_batch([row.text for row in rows])]
    labels = np.array([list(SIGNAL).index(row.label) for row in rows], np.int64)
    return TokenRows(ids, labels, np.linspace(0.5, 1.5, len(rows), dtype=np.float32))


def _trainer(base: Base, **changes: object) -> Trainer:
    torch.manual_seed(0)
    linear = nn.Linear(base.hidden, len(SIGNAL))
    trainer = Trainer(base, linear, _rows(base), FinetuneSettings(**{"dropout": 0.0, **changes}))  # type: ignore[arg-type]
    trainer.train()
    return trainer


@pytest.mark.parametrize("at_once", [1, 7, 8, 100])
def test_gradients_of_parts_add_up_to_the_whole(toy_folder: object, base: Base, at_once: int) -> None:
    from train.base import load_base

    other = load_base(str(toy_folder))
    whole, parts = _trainer(base), _trainer(other, micro_texts=at_once)
    batch = list(range(16))
    for _ in range(2):
        one, two = whole.step(batch), parts.step(batch)
        assert one.loss == pytest.approx(two.loss, rel=1e-5)
        assert one.number == two.number
    for name, tensor in whole.weights().items():
        torch.testing.assert_close(parts.weights()[name], tensor, rtol=1e-3, atol=2e-5)


def test_dropout_is_what_is_asked_for_but_in_attention(base: Base) -> None:
    _trainer(base, dropout=0.3)
    rates = {name: module.p for name, module in base.encoder.named_modules() if isinstance(module, nn.Dropout)}
    assert {rate for name, rate in rates.items() if name.endswith("attention.self.dropout")} == {0.0}
    assert {rate for name, rate in rates.items() if not name.endswith("attention.self.dropout")} == {0.3}


def test_dropout_before_the_head_changes_the_loss(base: Base) -> None:
    plain = _trainer(base).step([0, 1, 2, 3]).loss
    assert _trainer(base, head_dropout=0.5).step([0, 1, 2, 3]).loss != pytest.approx(plain)


def test_an_encoder_that_drops_nothing_says_so(base: Base) -> None:
    for module in list(base.encoder.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(module, name, nn.Identity())
    assert set_dropout(base.encoder, 0.1) == 0
    _trainer(base, dropout=None)
    with pytest.raises(InputError, match="head_dropout"):
        _trainer(base, dropout=0.1)
