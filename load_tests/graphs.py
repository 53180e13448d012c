"""What the shape of an exported graph is worth: attention as one node, and biases added by the product they belong to.

::

    OMP_NUM_THREADS=1 python -m load_tests.graphs --data $DATA/banking77/data.parquet

The bundled encoder is exported as torch traces it and with attention as one node (:mod:`train.attention`), and both are
quantised on the same texts. The first, and a copy of the second, have their biases added by nodes of their own. Then random
tokens are embedded by each, in turns, on one thread; told are the medians of processor time, and what the first takes as a
multiple of the others. Prints a line for each number of tokens.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from onnx import helper

from core.encoder import OnnxEncoder
from load_tests.traffic import read_texts
from train.attention import one_node
from train.base import Base, load_base
from train.export import trace
from train.quantise import quantise

_TEXTS = {14: 8, 64: 8, 128: 4, 256: 2}
_CALIBRATED_ON = 256


def export(base: Base, folder: Path, ids: list[list[int]]) -> dict[str, Path]:
    """Return the int8 graphs by name, the plainest first."""
    found = {name: folder / f"{name}.onnx" for name in ("traced", "one_node_biases_apart", "one_node")}
    trace(base.encoder, folder / "plain.onnx")
    with one_node(base.encoder.transformer):
        trace(base.encoder, folder / "fused.onnx")
    quantise(folder / "plain.onnx", found["traced"], ids)
    quantise(folder / "fused.onnx", found["one_node"], ids)
    for name, source in (("traced", "traced"), ("one_node_biases_apart", "one_node")):
        model = onnx.load(str(found[source]))
        set_apart(model.graph)
        onnx.save(model, str(found[name]))
    return found


def set_apart(graph: onnx.GraphProto) -> int:
    """Have the biases of products of integers added by nodes of their own, and return how many there are."""
    nodes = []
    count = 0
    for node in graph.node:
        nodes.append(node)
        if node.op_type == "MatMulIntegerToFloat" and len(node.input) > 6:
            total, bias = node.output[0], node.input.pop()
            node.output[0] = f"{total}:product"
            nodes.append(helper.make_node("Add", [node.output[0], bias], [total]))
            count += 1
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return count


def measure(engines: dict[str, OnnxEncoder], tokens: int, rounds: int, vocabulary: int) -> dict[str, float]:
    """Return the median of milliseconds of processor time that each takes for a text of so many tokens."""
    ids = np.random.default_rng(tokens).integers(0, vocabulary, (_TEXTS[tokens], tokens)).tolist()
    spent: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            began = time.process_time()
            engine.embed(ids)
            spent[name].append(time.process_time() - began)
    return {name: 1000 * median(values) / len(ids) for name, values in spent.items()}


def main() -> None:
    """Export, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Parquet or CSV with a column text, for the scales")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    base = load_base(None)
    base.tokenizer.enable_truncation(max_length=base.max_positions)
    ids = [found.ids for found in base.tokenizer.encode_batch(read_texts(options.data)[:_CALIBRATED_ON])]
    with tempfile.TemporaryDirectory() as temporary:
        engines = {name: OnnxEncoder(path, threads=1) for name, path in export(base, Path(temporary), ids).items()}
        for tokens in _TEXTS:
            spent = measure(engines, tokens, options.rounds, base.tokenizer.get_vocab_size())
            first = spent["traced"]
            line = {name: {"ms": round(value, 3), "speedup": round(first / value, 2)} for name, value in spent.items()}
            print(json.dumps({"tokens": tokens, **line}), flush=True)


if __name__ == "__main__":
    main()
