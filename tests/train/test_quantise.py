"""8-bit engines: near the original, the same for a text whatever its company, and fp32 where 8 bits would not do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from core.encoder import OnnxEncoder
from train.encode import VARIANTS, ExportedEncoder
from train.quantise import quantise

Ids = list[list[int]]
_SEQUENCES = st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=20), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def engine(exported: ExportedEncoder) -> OnnxEncoder:
    return OnnxEncoder(exported.folder / VARIANTS["int8"], threads=1)


def _weights(path: Path) -> dict[str, int]:
    """Return how many products of each kind have a constant 2-D weight."""
    graph = onnx.load(str(path)).graph
    constants = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    kinds = [node.op_type for node in graph.node if any(name in constants for name in node.input[:2])]
    return {kind: kinds.count(kind) for kind in ("MatMul", "Gemm", "MatMulIntegerToFloat")}


def test_every_product_of_an_encoder_becomes_one_of_integers(exported: ExportedEncoder) -> None:
    before, after = (_weights(exported.folder / VARIANTS[variant]) for variant in ("fp32", "int8"))
    assert before["MatMul"] > 0
    assert after == {"MatMul": 0, "Gemm": 0, "MatMulIntegerToFloat": before["MatMul"] + before["Gemm"]}


@given(ids=_SEQUENCES)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_is_answered_alike_whatever_its_company(engine: OnnxEncoder, ids: Ids) -> None:
    together = engine.embed(ids)
    for row, sequence in enumerate(ids):
        assert abs(engine.embed([sequence])[0] - together[row]).max() < 1e-5


def _linear(path: Path, weight: np.ndarray, kind: str, bias: np.ndarray | None = None) -> None:
    """Write a graph that looks tokens up in a table of outliers and multiplies them once with ``weight``."""
    random = np.random.default_rng(1)
    table = random.normal(size=(50, weight.shape[0])).astype(np.float32)
    table[:, 3] *= 100  # the outlier channel that spoils a scale shared by all channels
    constants = {"table": table, "weight": weight if kind == "MatMul" else weight.T.copy(), "last": np.array(-1)}
    inputs = ["rows", "weight"]
    nodes = [
        helper.make_node("Gather", ["input_ids", "last"], ["first"], axis=1),
        helper.make_node("Gather", ["table", "first"], ["rows"]),
        helper.make_node("ReduceSum", ["attention_mask"], ["unused"]),
    ]
    if bias is not None:
        constants["bias"] = bias
    if kind == "Gemm":
        inputs += ["bias"] if bias is not None else []
        nodes.append(helper.make_node(kind, inputs, ["embedding"], "product", transB=1))
    elif bias is None:
        nodes.append(helper.make_node(kind, inputs, ["embedding"], "product"))
    else:
        nodes.append(helper.make_node(kind, inputs, ["product"], "product"))
        nodes.append(helper.make_node("Add", ["bias", "product"], ["embedding"]))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", weight.shape[1]])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


@pytest.mark.parametrize(("kind", "bias"), [("MatMul", False), ("MatMul", True), ("Gemm", False), ("Gemm", True)])
def test_an_outlier_channel_does_not_spoil_the_others(tmp_path: Path, kind: str, bias: bool) -> None:
    weight = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    weight[3] /= 100
    _linear(tmp_path / "fp32.onnx", weight, kind, np.arange(8, dtype=np.float32) if bias else None)
    ids = [[token] for token in range(50)]
    quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", ids)
    assert _weights(tmp_path / "int8.onnx")["MatMulIntegerToFloat"] == 1
    exact, served = (OnnxEncoder(tmp_path / f"{name}.onnx", threads=1).embed(ids) for name in ("fp32", "int8"))
    assert ((served - exact) ** 2).sum() / ((exact - exact.mean(axis=0)) ** 2).sum() < 0.002


def test_a_product_that_8_bits_would_ruin_stays_in_fp32(tmp_path: Path) -> None:
    # One column of enormous and tiny weights: the tiny ones, which carry all that varies, round to nothing.
    weight = np.full((32, 1), 1e-4, np.float32)
    weight[3] = 1e4
    _linear(tmp_path / "fp32.onnx", weight, "MatMul")
    graph = onnx.load(str(tmp_path / "fp32.onnx"))
    table = next(tensor for tensor in graph.graph.initializer if tensor.name == "table")
    rows = numpy_helper.to_array(table).copy()
    rows[:, 3] = 1.0
    table.CopyFrom(numpy_helper.from_array(rows, "table"))
    onnx.save(graph, str(tmp_path / "fp32.onnx"))
    quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", [[token] for token in range(50)])
    assert _weights(tmp_path / "int8.onnx") == {"MatMul": 1, "Gemm": 0, "MatMulIntegerToFloat": 0}


def test_without_texts_nothing_is_guessed(exported: ExportedEncoder, tmp_path: Path) -> None:
    quantise(exported.folder / VARIANTS["fp32"], tmp_path / "int8.onnx", [])
    assert _weights(tmp_path / "int8.onnx") == _weights(exported.folder / VARIANTS["fp32"])
