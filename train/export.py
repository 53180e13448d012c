"""Exporting a torch encoder to ONNX, quantising it, and proving that what is served equals what was trained."""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from core.bundle import Parity, Variant, Vocabulary
from core.classifier import softmax
from core.errors import BundleError
from train.base import Base
from train.encode import VARIANTS, EncoderFacts, ExportedEncoder, FloatMatrix
from train.head import IntVector
from train.tensors import embed_ids

# Largest allowed distance between an embedding of length 1 from the fp32 engine and from torch.
MOST_GAP = 1e-3
# What the int8 variant may lose against fp32; beyond it fp32 is served.
INT8_LEAST_AGREEMENT = 0.99
INT8_MOST_LOSS = 0.003
_OPSET = 17


def export_encoder(base: Base, staging: Path, sample: Sequence[str], vocabulary: Vocabulary | None) -> ExportedEncoder:
    """Write ``base`` under a new folder of ``staging`` in the layout of a bundle, after comparing engine and torch.

    Args:
        base: the encoder in torch.
        staging: where the folder is made.
        sample: cleaned texts on which the two are compared.
        vocabulary: what was done to the tokenizer, for the record.

    Raises:
        BundleError: when the exported graph gives other embeddings than torch.
    """
    folder = Path(tempfile.mkdtemp(dir=staging, prefix="encoder-"))
    base.save(folder / "encoder")
    (folder / VARIANTS["fp32"]).parent.mkdir(parents=True)
    _export_onnx(base, folder / VARIANTS["fp32"])
    _quantise(folder / VARIANTS["fp32"], folder / VARIANTS["int8"])
    facts = EncoderFacts(
        base=base.name,
        digest=base.digest(),
        hidden=base.hidden,
        max_positions=base.max_positions,
        encoder_gap=0.0,
        vocabulary=vocabulary,
    )
    exported = ExportedEncoder(folder, facts)
    ids = exported.tokenize(sample, max_tokens=min(256, base.max_positions))
    gap = float(np.abs(embed_ids(base, ids) - exported.embed_ids(ids, "fp32")).max()) if ids else 0.0
    if not gap <= MOST_GAP:  # also true of NaN
        raise BundleError(f"the exported encoder differs from torch by {gap:.2g} on {len(ids)} texts; {MOST_GAP} is allowed")
    return ExportedEncoder(folder, facts.model_copy(update={"encoder_gap": gap}))


def _export_onnx(base: Base, path: Path) -> None:
    # The tracing exporter: seven times quicker here than the one built on torch.export, whose graph of this model ONNX Runtime
    # refuses ("Duplicate definition of name"). Either way the comparison decides.
    encoder = copy.deepcopy(base.encoder).eval()
    example = (torch.ones(2, 9, dtype=torch.long), torch.ones(2, 9, dtype=torch.long))
    axes = {0: "texts", 1: "tokens"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            encoder,
            example,
            str(path),
            dynamo=False,
            input_names=["input_ids", "attention_mask"],
            output_names=["embedding"],
            opset_version=_OPSET,
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "embedding": {0: "texts"}},
        )


def _quantise(source: Path, target: Path) -> None:
    """Write the weights of matrix products as 8-bit integers; activations are quantised at run time.

    Weights are unsigned: without VNNI instructions, sums of products of unsigned and signed 8-bit numbers saturate at 16 bits.
    Products that narrow (the second half of a feed-forward layer) stay in fp32: what comes into them has outliers, which spoil
    a scale shared by the whole batch. On BANKING77 that brings accuracy from 0.1-0.3 points below fp32 to 0.0-0.2, and costs a
    tenth of the speed.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the quantiser advises on the root logger
    model = onnx.load(str(source))
    try:
        quantize_dynamic(
            model,
            str(target),
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_exclude=_narrowing(model),
            per_channel=True,
            weight_type=QuantType.QUInt8,
        )
    finally:
        root.setLevel(level)


def _narrowing(model: onnx.ModelProto) -> list[str]:
    """Return the names of the products whose weights have more rows than columns."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and len(shapes.get(node.input[1], ())) == 2]
    return [node.name for node in products if shapes[node.input[1]][0] > shapes[node.input[1]][1]]


def compare(reference: FloatMatrix, served: FloatMatrix, labels: IntVector, *, encoder_gap: float) -> Parity:
    """Return how logits ``served`` (n, c) by an engine compare with ``reference`` (n, c), row by row; no rows claim nothing."""
    if not len(labels):
        return Parity(
            rows=0,
            encoder_gap=encoder_gap,
            label_agreement_ratio=1.0,
            max_probability_gap=0.0,
            accuracy_torch=0.0,
            accuracy_engine=0.0,
        )
    before, after = reference.argmax(axis=1), served.argmax(axis=1)
    gap: NDArray[np.float32] = np.abs(softmax(reference) - softmax(served))
    return Parity(
        rows=len(labels),
        encoder_gap=encoder_gap,
        label_agreement_ratio=float((before == after).mean()),
        max_probability_gap=float(gap.max()),
        accuracy_torch=float((before == labels).mean()),
        accuracy_engine=float((after == labels).mean()),
    )


def choose_variant(parities: dict[Variant, Parity]) -> Variant:
    """Return int8 when it was seen to be true enough to be served, else fp32: parity first, speed second."""
    parity = parities["int8"]
    true = parity.rows > 0 and parity.label_agreement_ratio >= INT8_LEAST_AGREEMENT
    return "int8" if true and parity.accuracy_torch - parity.accuracy_engine <= INT8_MOST_LOSS else "fp32"
