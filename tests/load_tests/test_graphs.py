"""What is compared are graphs that compute the same: one has its biases added by nodes of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from core.encoder import OnnxEncoder
from load_tests.graphs import export, set_apart
from tests.train.toys import write_toy_base
from train.base import load_base


def test_the_graphs_compared_differ_in_shape_alone(tmp_path: Path) -> None:
    base = load_base(str(write_toy_base(tmp_path / "toy")))
    base.tokenizer.enable_truncation(max_length=48)
    ids = [found.ids for found in base.tokenizer.encode_batch(["the card is late", "why", "refund my order today"])]
    engines = {name: OnnxEncoder(path, threads=1).embed(ids) for name, path in export(base, tmp_path, ids).items()}
    np.testing.assert_array_equal(engines["one_node"], engines["one_node_biases_apart"])
    np.testing.assert_allclose(engines["traced"], engines["one_node"], atol=0.02)
    model = onnx.load(str(tmp_path / "one_node.onnx"))
    sums = sum(node.op_type == "Add" for node in model.graph.node)
    count = set_apart(model.graph)
    assert count > 0
    assert sum(node.op_type == "Add" for node in model.graph.node) == sums + count
