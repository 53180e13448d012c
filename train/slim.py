"""Making an exported encoder's file smaller without changing much of what it computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

FloatArray = NDArray[np.float32]

# Smaller tables are not worth a node more.
_LEAST_VALUES = 4_096
# Beyond it a product is cheaper as two.
_WORTH_RATIO = 0.9
_SMALLEST_SINGULAR_RATIO = 1e-4
_LARGEST_HALF = 65_000.0


def quantise_tables(path: Path) -> int:
    """Store embedding tables as 8-bit integers with a scale for each row, in place, and return how many.

    A row is looked up first and scaled then, so it costs a handful of multiplications a token. Tables are three quarters of
    the bundled encoder's int8 engine.
    """
    model = onnx.load(str(path))
    graph = model.graph
    tables = {tensor.name: tensor for tensor in graph.initializer if _is_table(tensor)}
    gathers = [node for node in graph.node if node.op_type == "Gather" and node.input[0] in tables and _axis(node) == 0]
    elsewhere = {name for node in graph.node if node not in gathers for name in node.input}
    found = {node.input[0] for node in gathers} - elsewhere
    for name in found:
        values = numpy_helper.to_array(tables[name])
        scale = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127.0, 1e-12).astype(np.float32)
        graph.initializer.remove(tables[name])
        graph.initializer.append(numpy_helper.from_array(np.rint(values / scale).astype(np.int8), name))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}:scale"))
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes.extend(_scaled(node) if node in gathers and node.input[0] in found else [node])
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(path))
    return len(found)


def halve_weights(path: Path) -> int:
    """Store constants of 32-bit floats in 16, in place, and return how many.

    They are widened again when the file is loaded, so it answers as fast as before and takes as much memory; processors without
    16-bit arithmetic lose nothing.
    """
    model = onnx.load(str(path))
    graph = model.graph
    large = [t for t in graph.initializer if t.data_type == TensorProto.FLOAT and int(np.prod(t.dims)) >= _LEAST_VALUES]
    # What lies beyond the range of 16 bits stays.
    fitting = [t for t in large if np.abs(numpy_helper.to_array(t)).max() < _LARGEST_HALF]
    widened = []
    for tensor in fitting:
        half = f"{tensor.name}:half"
        graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), half))
        widened.append(helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT))
    for tensor in fitting:
        graph.initializer.remove(tensor)
    nodes = [*widened, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(path))
    return len(fitting)


def divide_products(path: Path) -> int:
    """Put two products in the place of each whose constant has so low a rank that they are cheaper, and return how many."""
    model = onnx.load(str(path))
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    divided = 0
    for node in graph.node:
        factors = _factors(constants.get(node.input[1])) if node.op_type == "MatMul" else None
        if factors is None:
            nodes.append(node)
            continue
        divided += 1
        output = node.output[0]
        names = [f"{output}:down", f"{output}:up"]
        graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(f), name) for f, name in zip(factors, names, strict=True)
        )
        nodes.append(helper.make_node("MatMul", [node.input[0], names[0]], [f"{output}:between"]))
        nodes.append(helper.make_node("MatMul", [f"{output}:between", names[1]], [output]))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.save(model, str(path))
    return divided


def _factors(tensor: TensorProto | None) -> tuple[FloatArray, FloatArray] | None:
    if tensor is None or len(tensor.dims) != 2 or tensor.data_type != TensorProto.FLOAT:
        return None
    weight = numpy_helper.to_array(tensor)
    left, values, right = np.linalg.svd(weight, full_matrices=False)
    rank = max(1, int((values > _SMALLEST_SINGULAR_RATIO * values[0]).sum()))
    if rank * sum(weight.shape) > _WORTH_RATIO * weight.size:
        return None
    root = np.sqrt(values[:rank])
    return (left[:, :rank] * root).astype(np.float32), (root[:, None] * right[:rank]).astype(np.float32)


def _is_table(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2 and tensor.dims[0] * tensor.dims[1] >= _LEAST_VALUES


def _axis(node: NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)


def _scaled(node: NodeProto) -> list[NodeProto]:
    table, places, output = node.input[0], node.input[1], node.output[0]
    return [
        helper.make_node("Gather", [table, places], [f"{output}:levels"], axis=0),
        helper.make_node("Cast", [f"{output}:levels"], [f"{output}:whole"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{table}:scale", places], [f"{output}:scale"], axis=0),
        helper.make_node("Mul", [f"{output}:whole", f"{output}:scale"], [output]),
    ]
