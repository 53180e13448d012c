"""A bundle that somebody else made on purpose: nothing in it is executed, and nothing outside it is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, numpy_helper

from core import bundle as bundle_module
from core.bundle import MANIFEST, NGRAMS, TOKENIZER, read_manifest, seal, verify
from core.classifier import Classifier
from core.errors import BundleError
from tests.core.encoders import FP32
from tests.core.manifests import accept


def _point_elsewhere(bundle: Path, location: str) -> bytes:
    """Have the graph take its table of token vectors from the file ``location``, and return what that has to hold."""
    model = onnx.load(bundle / FP32)
    table: Any = next(tensor for tensor in model.graph.initializer if tensor.name == "table")
    raw = numpy_helper.to_array(table).tobytes()
    for field in ("float_data", "raw_data"):
        table.ClearField(field)
    table.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(raw)))):
        entry = table.external_data.add()
        entry.key, entry.value = key, value
    (bundle / FP32).write_bytes(model.SerializeToString())
    accept(bundle, FP32)
    return raw


@pytest.mark.parametrize("location", ["../../../weights.bin", "../../../../weights.bin", "{folder}/weights.bin", "/etc/passwd"])
def test_a_graph_cannot_read_files_outside_the_bundle(bundle: Path, tmp_path: Path, location: str) -> None:
    raw = _point_elsewhere(bundle, location.format(folder=tmp_path))
    for folder in (tmp_path, tmp_path.parent):
        (folder / "weights.bin").write_bytes(raw)
    with pytest.raises(BundleError, match=r"fp32\.onnx cannot be loaded"):
        Classifier.load(bundle, checked=False)


def test_a_graph_cannot_read_by_way_of_a_link(bundle: Path, tmp_path: Path) -> None:
    raw = _point_elsewhere(bundle, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(raw)
    link = (bundle / FP32).parent / "weights.bin"
    link.symlink_to(tmp_path / "weights.bin")
    with pytest.raises(BundleError, match="cannot be loaded"):
        Classifier.load(bundle, checked=False)
    seal(bundle, read_manifest(bundle))
    with pytest.raises(BundleError, match="outside the bundle"):
        verify(bundle)


def test_data_beside_a_graph_is_under_a_checksum_like_all_else(bundle: Path) -> None:
    raw = _point_elsewhere(bundle, "weights.bin")
    beside = (bundle / FP32).parent / "weights.bin"
    beside.write_bytes(raw)
    with pytest.raises(BundleError, match=r"weights\.bin, which its manifest\.json does not name"):
        Classifier.load(bundle)
    seal(bundle, read_manifest(bundle))
    beside.write_bytes(bytes(len(raw)))
    with pytest.raises(BundleError, match=r"altered encoder/onnx/weights\.bin"):
        Classifier.load(bundle)


@pytest.mark.parametrize("domain", ["com.microsoft.extensions", "ai.onnx.contrib", "evil"])
def test_a_graph_cannot_bring_operators_of_its_own(bundle: Path, domain: str) -> None:
    model = onnx.load(bundle / FP32)
    model.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    last = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["before" if name == last else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("PyOp", ["before"], [last], domain=domain))
    (bundle / FP32).write_bytes(model.SerializeToString())
    accept(bundle, FP32)
    with pytest.raises(BundleError, match="cannot be loaded"):
        Classifier.load(bundle)


@pytest.mark.parametrize("name", [MANIFEST, TOKENIZER, NGRAMS])
def test_json_that_would_fill_the_memory_is_not_read(bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(bundle_module, "MAX_JSON_BYTES", (bundle / MANIFEST).stat().st_size + 50_000)
    assert Classifier.load(bundle, checked=False).labels
    with (bundle / name).open("ab") as file:
        # No disk is taken by what is not written.
        os.truncate(file.fileno(), 2_000_000_000)
    with pytest.raises(BundleError, match="2000000000 bytes"):
        Classifier.load(bundle, checked=False)
