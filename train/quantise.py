"""Quantising an exported encoder: 8-bit integers in its matrix products, at scales fixed once from real text.

The scales of activations are constants, so a text gets the same answer whatever shares its batch; ONNX Runtime's dynamic
quantisation takes them from the whole batch, which moved single probabilities by up to 0.2 and had to spare the second half of
every feed-forward layer. A product ``x · W`` becomes ``(x / s) · (s · W)`` with ``s`` chosen per input channel so that neither
side has outliers (SmoothQuant, Xiao et al. 2023, https://arxiv.org/abs/2211.10438); how far to go is chosen per product by the
error it leaves on a sample of activations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from core.batches import plan_batches
from core.encoder import pad_ids

FloatArray = NDArray[np.float32]

# Weights keep 7 of the 8 bits: without VNNI instructions a sum of two products of 8 bits saturates at 16 (ONNX Runtime,
# "When to use reduce-range", https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
_MOST_WEIGHT = 63
_LEVELS = 255
_BALANCES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_CLIPS = (1.0, 0.9, 0.8)
# Rows of activations on which the error of a product is measured, and the error beyond which it stays in fp32.
_SAMPLE_ROWS = 512
_MOST_ERROR_RATIO = 0.02
_CALIBRATION_TOKENS = 1_024
_DOMAIN = "com.microsoft"


@dataclass(frozen=True)
class _Product:
    """A node that multiplies with a constant ``weight`` (k, n); ``output`` is what has its bias too."""

    node: NodeProto
    weight: FloatArray
    bias: str | None
    output: str


class _Observed:
    """What flowed into a product: the range of each of its ``k`` channels, and a sample of rows."""

    def __init__(self, channels: int, seed: int) -> None:
        self.low = np.zeros(channels, np.float32)
        self.high = np.zeros(channels, np.float32)
        self._rows: list[FloatArray] = []
        self._random = np.random.default_rng(seed)

    def add(self, rows: FloatArray, share: float) -> None:
        """Take in ``rows`` (m, k), keeping ``share`` of them."""
        self.low = np.minimum(self.low, rows.min(axis=0))
        self.high = np.maximum(self.high, rows.max(axis=0))
        self._rows.append(rows[self._random.random(len(rows)) < share])

    @property
    def rows(self) -> FloatArray:
        """The sample (m, k); at most a little more than was asked for."""
        return np.concatenate(self._rows)


@dataclass(frozen=True)
class _Scaling:
    """How an input is brought to 8 bits: ``round(x / smooth / step) + zero``; ``error_ratio`` is the output's share lost."""

    smooth: FloatArray
    step: np.float32
    zero: np.uint8
    error_ratio: float


def quantise(source: Path, target: Path, ids: Sequence[Sequence[int]]) -> None:
    """Write the encoder ``source`` with 8-bit products to ``target``, calibrated on the token sequences ``ids``.

    Products that would lose more than 2% of their output's variance stay as they are; with no ``ids`` all of them do.
    """
    model = onnx.load(str(source))
    groups = _products(model)
    observed = _observe(model, groups, ids) if len(ids) else {}
    graph = model.graph
    # What computes a value by its name; a product whose bias another node adds computes that node's.
    replaced: dict[str, list[NodeProto]] = {}
    for name, seen in observed.items():
        products = groups[name]
        scaling = _choose(seen, np.concatenate([product.weight for product in products], axis=1))
        if scaling.error_ratio <= _MOST_ERROR_RATIO:
            replaced |= _integer_nodes(graph, name, products, scaling)
    nodes = [new for node in graph.node for new in replaced.get(node.output[0], [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    if all(used.domain != _DOMAIN for used in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    onnx.save(model, str(target))


def _products(model: onnx.ModelProto) -> dict[str, list[_Product]]:
    """Return the products with constant weights by the name of what they multiply: one quantisation of it serves them all."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    biases = _added_biases(model.graph)
    found: dict[str, list[_Product]] = {}
    for node in model.graph.node:
        tensor = constants.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if tensor is None or len(tensor.dims) != 2 or tensor.data_type != TensorProto.FLOAT:
            continue
        options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if options.get("transA", 0) or options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0:
            continue
        weight = numpy_helper.to_array(tensor)
        bias = node.input[2] if len(node.input) > 2 else None
        if bias is not None and (bias not in constants or len(constants[bias].dims) != 1):
            continue
        weight = weight.T if options.get("transB", 0) else weight
        output = node.output[0]
        row, total = biases.get(output, ("", ""))
        # A single number is added to all columns, which the node below does not know.
        if bias is None and row and constants[row].dims[0] == weight.shape[1]:
            bias, output = row, total
        found.setdefault(node.input[0], []).append(_Product(node, weight, bias, output))
    return found


def _added_biases(graph: onnx.GraphProto) -> dict[str, tuple[str, str]]:
    """Return a constant row and the sum, by the value that this row, and nothing else, is added to."""
    rows = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 1}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)
    found: dict[str, tuple[str, str]] = {}
    for node in graph.node:
        row = next((name for name in node.input if name in rows), None)
        if node.op_type == "Add" and row is not None:
            other = node.input[1] if node.input[0] == row else node.input[0]
            if readers[other] == 1:
                found[other] = (row, node.output[0])
    return found


def _observe(model: onnx.ModelProto, names: Iterable[str], ids: Sequence[Sequence[int]]) -> dict[str, _Observed]:
    """Return what the values called ``names`` are when the encoder reads ``ids``; padding is left out."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = list(names)
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    lengths = [len(sequence) for sequence in ids]
    share = min(1.0, _SAMPLE_ROWS / max(1, sum(lengths)))
    observed: dict[str, _Observed] = {}
    for batch in plan_batches(lengths, max_texts=32, max_tokens=_CALIBRATION_TOKENS):
        tokens, mask = pad_ids([ids[place] for place in batch])
        values = session.run(names, {"input_ids": tokens, "attention_mask": mask})
        for name, value in zip(names, values, strict=True):
            rows = value[mask.astype(bool)] if value.shape[:2] == mask.shape else value.reshape(-1, value.shape[-1])
            observed.setdefault(name, _Observed(rows.shape[1], seed=0)).add(rows, share)
    return observed


def _choose(seen: _Observed, weight: FloatArray) -> _Scaling:
    """Return the scaling of an input that leaves the least squared error in its product with ``weight`` (k, n)."""
    return min(_scalings(seen, weight), key=lambda scaling: scaling.error_ratio)


def _scalings(seen: _Observed, weight: FloatArray) -> Iterator[_Scaling]:
    """Give the scalings that are worth a try, each with the error it leaves."""
    rows = seen.rows
    exact = rows @ weight
    spread = max(float(((exact - exact.mean(axis=0)) ** 2).sum()), 1e-12)
    input_peak = np.maximum(np.maximum(-seen.low, seen.high), 1e-4)
    weight_peak = np.maximum(np.abs(weight).max(axis=1), 1e-4)
    for balance in _BALANCES:
        smooth = (input_peak**balance / weight_peak ** (1 - balance)).astype(np.float32)
        served = _dequantised(weight * smooth[:, None])
        low, high = float((seen.low / smooth).min()), float((seen.high / smooth).max())
        for clip in _CLIPS:
            step = np.float32(max((high - low) * clip / _LEVELS, 1e-8))
            zero = np.uint8(np.clip(round(-low * clip / float(step)), 0, _LEVELS))
            levels = np.clip(np.rint(rows / smooth / step) + zero, 0, _LEVELS) - zero
            error = float((((levels * step).astype(np.float32) @ served - exact) ** 2).sum()) / spread
            yield _Scaling(smooth, step, zero, error)


def _integers(weight: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Return ``weight`` (k, n) as integers and the scale (n,) of each column."""
    scale = np.abs(weight).max(axis=0) / _MOST_WEIGHT
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale


def _dequantised(weight: FloatArray) -> FloatArray:
    integers, scale = _integers(weight)
    return integers * scale


def _integer_nodes(
    graph: onnx.GraphProto, name: str, products: Sequence[_Product], scaling: _Scaling
) -> dict[str, list[NodeProto]]:
    """Return what replaces each of ``products``, by the name of its output; constants are added to ``graph``."""

    def constant(suffix: str, value: NDArray[np.generic] | np.generic) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), suffix))
        return suffix

    shrink = constant(f"{name}:shrink", 1.0 / scaling.smooth)
    step, zero = constant(f"{name}:step", scaling.step), constant(f"{name}:zero", scaling.zero)
    first = [
        helper.make_node("Mul", [name, shrink], [f"{name}:smooth"]),
        helper.make_node("QuantizeLinear", [f"{name}:smooth", step, zero], [f"{name}:levels"]),
    ]
    replaced: dict[str, list[NodeProto]] = {}
    for product in products:
        output = product.node.output[0]
        weight, scale = _integers(product.weight * scaling.smooth[:, None])
        inputs = [
            f"{name}:levels",
            constant(f"{output}:weight", weight),
            step,
            constant(f"{output}:scale", scale),
            zero,
            constant(f"{output}:zero", np.zeros(len(scale), np.int8)),
        ]
        if product.bias is not None:
            inputs.append(product.bias)
        node = helper.make_node("MatMulIntegerToFloat", inputs, [product.output], f"{product.output}:int8", domain=_DOMAIN)
        replaced[product.output] = []
        replaced[output] = [*first, node]
        first = []
    return replaced


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
