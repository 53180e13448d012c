"""What is served equals what was trained, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.bundle import Parity
from core.classifier import softmax
from core.encoder import OnnxEncoder
from core.errors import BundleError
from tests.train.toys import write_toy_base
from train import export as module
from train.base import Base, load_base, token_embeddings
from train.encode import VARIANTS, ExportedEncoder
from train.export import export_encoder
from train.head import FeatureRows, fit_head, logits
from train.parity import INT8_LEAST_AGREEMENT, INT8_MOST_LOSS, choose_variant, compare
from train.tensors import embed_ids

_TEXTS = ["why", "the card is late again today", "refund my order", "lovely " * 40, "", "123 ?!"]


def test_the_fp32_engine_gives_torchs_embeddings(base: Base, exported: ExportedEncoder) -> None:
    ids = exported.tokenize(_TEXTS, max_tokens=48)
    assert [len(sequence) for sequence in ids] == [
        min(48, len(encoding.ids)) for encoding in base.tokenizer.encode_batch(_TEXTS)
    ]
    engine = OnnxEncoder(exported.folder / VARIANTS["fp32"], threads=1)
    torchs = embed_ids(base, ids)
    assert abs(engine.embed(ids) - torchs).max() < 1e-5
    assert abs(exported.embed_ids(ids, "fp32") - torchs).max() < 1e-5
    assert exported.facts.encoder_gap < 1e-5
    assert (exported.facts.digest, exported.facts.hidden, exported.facts.max_positions) == (base.digest(), 32, 64)


def test_the_int8_engine_is_near_and_another_file(base: Base, exported: ExportedEncoder) -> None:
    ids = exported.tokenize(_TEXTS, max_tokens=48)
    gap = abs(exported.embed_ids(ids, "int8") - embed_ids(base, ids)).max()
    assert 0.0 < gap < 0.1


def test_exporting_leaves_the_encoder_as_it_is(base: Base, exported: ExportedEncoder) -> None:
    assert not base.encoder.training
    assert all(parameter.requires_grad for parameter in base.encoder.parameters())
    assert load_base(str(exported.folder / "encoder")).digest() == exported.facts.digest


def test_another_models_graph_is_refused(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = load_base(str(write_toy_base(tmp_path / "other", seed=1)))
    export = module._export_onnx
    monkeypatch.setattr(module, "_export_onnx", lambda _, path: export(other, path))
    with pytest.raises(BundleError, match=r"differs from torch by .* on 2 texts"):
        export_encoder(base, tmp_path, _TEXTS[:2], None)


def test_a_graph_that_answers_no_numbers_is_refused(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = load_base(str(write_toy_base(tmp_path / "broken")))
    with torch.no_grad():
        token_embeddings(broken).weight.fill_(float("nan"))
    export = module._export_onnx
    monkeypatch.setattr(module, "_export_onnx", lambda _, path: export(broken, path))
    with pytest.raises(BundleError, match="nan"):
        export_encoder(base, tmp_path, _TEXTS[:2], None)


def _parity(agreement: float, before: float, after: float, rows: int = 1_000) -> Parity:
    return Parity(
        rows=rows,
        encoder_gap=0.0,
        label_agreement_ratio=agreement,
        max_probability_gap=0.1,
        accuracy_torch=before,
        accuracy_engine=after,
    )


_JUST = 1e-6


@pytest.mark.parametrize(
    ("agreement", "loss", "rows", "chosen"),
    [
        (1.0, 0.0, 1_000, "int8"),
        (INT8_LEAST_AGREEMENT, 0.0, 1_000, "int8"),
        (INT8_LEAST_AGREEMENT - _JUST, 0.0, 1_000, "fp32"),
        (1.0, INT8_MOST_LOSS - _JUST, 1_000, "int8"),
        (1.0, INT8_MOST_LOSS + _JUST, 1_000, "fp32"),
        (INT8_LEAST_AGREEMENT, -0.1, 1_000, "int8"),
        (1.0, 0.0, 0, "fp32"),
    ],
)
def test_int8_is_served_only_within_its_limits(agreement: float, loss: float, rows: int, chosen: str) -> None:
    found = choose_variant({"fp32": _parity(1.0, 0.9, 0.9), "int8": _parity(agreement, 0.9, 0.9 - loss, rows)})
    assert found == chosen


def test_engines_are_compared_row_by_row() -> None:
    reference = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.5]], np.float32)
    served = np.array([[2.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.0, 0.5]], np.float32)
    parity = compare(reference, served, np.array([0, 1, 1, 1]), encoder_gap=0.25)
    assert (parity.rows, parity.encoder_gap, parity.label_agreement_ratio) == (4, 0.25, 0.75)
    assert (parity.accuracy_torch, parity.accuracy_engine) == (0.75, 0.5)
    assert parity.max_probability_gap == pytest.approx(abs(softmax(reference) - softmax(served)).max())


def test_without_rows_nothing_is_claimed() -> None:
    nothing = np.empty((0, 2), np.float32)
    parity = compare(nothing, nothing, np.empty(0, np.int64), encoder_gap=0.5)
    assert (parity.rows, parity.encoder_gap, parity.max_probability_gap) == (0, 0.5, 0.0)
    assert choose_variant({"fp32": parity, "int8": parity}) == "fp32"


def test_a_head_answers_alike_over_both_engines(base: Base, exported: ExportedEncoder) -> None:
    texts = [f"{signal} {filler}" for signal in ("awful", "lovely") for filler in ("card", "phone", "order", "app", "today")]
    labels = np.repeat(np.array([0, 1]), 5)
    ids = exported.tokenize(texts, max_tokens=48)
    head = fit_head(FeatureRows(embed_ids(base, ids), None), labels, classes=2)
    by_torch = logits(head, FeatureRows(embed_ids(base, ids), None)).argmax(axis=1)
    by_engine = logits(head, FeatureRows(exported.embed_ids(ids, "fp32"), None)).argmax(axis=1)
    assert (by_torch == by_engine).all()
