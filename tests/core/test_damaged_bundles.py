"""A bundle whose parts do not fit each other is refused, though every checksum is right; and only data is ever read."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import core
import core.encoder
from core.bundle import HEAD, NGRAMS, TOKENIZER, read_manifest, seal
from core.classifier import Classifier, Head
from core.errors import BundleError
from tests.core.encoders import (
    FP32,
)
from tests.core.manifests import accept, edit, read_body

_BIG = float(np.finfo(np.float32).max)


def _rewrite_head(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tensors: dict[str, Any] = load_file(folder / HEAD)
    change(tensors)
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / HEAD)
    accept(folder, HEAD)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda head: head.update(bias=head["bias"] * np.float32("nan")), "bias that are not finite"),
        (lambda head: head["encoder.weight"].__setitem__((0, 0), np.inf), "encoder.weight that are not finite"),
        (lambda head: head["ngrams.weight"].__setitem__((0, 0), -np.inf), "ngrams.weight that are not finite"),
        (lambda head: head.pop("bias"), "lacks the tensor bias"),
        (lambda head: head.pop("encoder.weight"), "encoder.weight has shape None"),
        (lambda head: head.pop("ngrams.weight"), "ngrams.weight has shape None"),
        (lambda head: head.update(bias=head["bias"][:2]), r"bias has shape \(2,\)"),
        (lambda head: head.update(bias=head["bias"][None]), r"bias has shape \(1, 3\)"),
        (lambda head: head.update({"encoder.weight": head["encoder.weight"].T}), r"encoder.weight has shape \(3, 4\)"),
        (lambda head: head.update({"ngrams.weight": head["ngrams.weight"][1:]}), r"ngrams.weight has shape \(9, 3\)"),
        (lambda head: head.update(bias=head["bias"].astype(np.float64)), "bias as float64"),
        (lambda head: head.update(bias=head["bias"].astype(np.int64)), "bias as int64"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(bundle: Path, change: Callable[[dict[str, Any]], object], reason: str) -> None:
    _rewrite_head(bundle, change)
    with pytest.raises(BundleError, match=reason):
        Classifier.load(bundle)
    with pytest.raises(BundleError, match=reason):
        Classifier.load(bundle, checked=False)


def test_a_head_of_a_number_type_numpy_lacks_is_refused(tmp_path: Path) -> None:
    header = b'{"bias":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}'
    (tmp_path / HEAD).write_bytes(len(header).to_bytes(8, "little") + header + bytes(6))
    with pytest.raises(BundleError, match=HEAD):
        Head.load(tmp_path / HEAD)


@pytest.mark.parametrize("name", [HEAD, NGRAMS, TOKENIZER, FP32])
@pytest.mark.parametrize("data", [b"", b"{}", b"\x80\x04not what it should be", b"[" * 100_000])
def test_a_part_that_cannot_be_read_is_refused(bundle: Path, name: str, data: bytes) -> None:
    (bundle / name).write_bytes(data)
    accept(bundle, name)
    with pytest.raises(BundleError, match=Path(name).name):
        Classifier.load(bundle)


@pytest.mark.parametrize("name", [HEAD, NGRAMS, TOKENIZER])
def test_a_part_that_is_missing_is_refused_unchecked_too(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=Path(name).name):
        Classifier.load(bundle, checked=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["positive", "negative"]},
        {"labels": ["positive", "negative", "mixed", "neutral"]},
        {"labels": ["negative", "positive", "mixed"]},
        {"labels": ["a", "b", "c"]},
        {"temperature": 40.0},
        {"text": {"html": True, "control": True, "unicode_form": "NFKC", "spaces": True}, "temperature": 1e-30},
    ],
)
def test_a_manifest_that_makes_other_answers_is_refused(bundle: Path, changes: dict[str, object]) -> None:
    edit(bundle, **changes)
    with pytest.raises(BundleError, match=r"labels|probe"):
        Classifier.load(bundle)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden": 5}, "encoder.weight has shape"),
        ({"max_tokens": 2}, "cut at 2 tokens"),
        ({"max_tokens": -1}, "cut at -1 tokens"),
        ({"variants": {"int8": "encoder/onnx/int8.onnx"}}, "no engine file for the variant fp32"),
        ({"variants": {"fp32": "encoder/onnx/other.onnx"}}, "no engine file for the variant fp32"),
        ({"variants": {"fp32": "../../other.onnx"}}, "no engine file for the variant fp32"),
        ({"variants": {"fp32": TOKENIZER}}, "cannot be loaded by ONNX Runtime"),
        ({"serving": "int8"}, "probe"),
    ],
)
def test_an_encoder_entry_that_does_not_fit_is_refused(bundle: Path, changes: dict[str, object], reason: str) -> None:
    edit(bundle, encoder=read_body(bundle)["encoder"] | changes)
    with pytest.raises(BundleError, match=reason):
        Classifier.load(bundle)


def test_features_that_are_not_there_are_refused(bundle: Path) -> None:
    edit(bundle, ngrams=None)
    with pytest.raises(BundleError, match=r"ngrams\.weight has shape"):
        Classifier.load(bundle)
    edit(bundle, ngrams={"size": 3, "longest": 1, "min_documents": 1})
    with pytest.raises(BundleError, match=r"ngrams\.weight has shape"):
        Classifier.load(bundle)
    _rewrite_head(bundle, lambda head: head.update({"ngrams.weight": head["ngrams.weight"][:3]}))
    with pytest.raises(BundleError, match="vocabulary has 10 n-grams, the manifest says 3"):
        Classifier.load(bundle)


@pytest.mark.parametrize("shift", [0.2, -0.2, float("nan")])
def test_a_probe_that_is_answered_differently_is_found(bundle: Path, shift: float) -> None:
    probes = read_body(bundle)["probes"]
    probes[-1]["score"] += shift
    edit(bundle, probes=probes)
    with pytest.raises(BundleError, match=f"probe {len(probes) - 1} is answered"):
        Classifier.load(bundle)
    assert Classifier.load(bundle, checked=False).manifest.probes


def test_other_kernels_may_move_a_probe_a_little(bundle: Path) -> None:
    probes = read_body(bundle)["probes"]
    edit(bundle, probes=[probe | {"score": probe["score"] - 0.1} for probe in probes])
    assert len(Classifier.load(bundle).manifest.probes) == len(probes)


def test_a_bundle_that_overflows_is_refused(bundle: Path) -> None:
    _rewrite_head(bundle, lambda head: head.update(bias=np.array([_BIG, -_BIG, _BIG], dtype=np.float32)))
    edit(bundle, temperature=1e-3)
    with np.errstate(all="ignore"), pytest.raises(BundleError, match="not finite"):
        Classifier.load(bundle)


class _Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_no_pickle_in_a_bundle_is_ever_read(bundle: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(_Trap(sprung))
    names = ("head.pkl", "head.bin", "ngrams.pkl", "encoder/pytorch_model.bin", "encoder/training_args.bin", "encoder/model.pt")
    for name in names:
        (bundle / name).write_bytes(trap)
    seal(bundle, read_manifest(bundle))
    Classifier.load(bundle).predict(["good"])
    for name in (HEAD, NGRAMS, TOKENIZER, FP32):
        (bundle / name).write_bytes(trap)
        accept(bundle, name)
        with pytest.raises(BundleError):
            Classifier.load(bundle)
    assert not sprung.exists()
    pickle.loads(trap)  # noqa: S301 - the trap works
    assert sprung.exists()


def test_core_knows_nothing_that_unpickles() -> None:
    unsafe = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "torch"}
    for module in Path(core.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert not unsafe & {name.split(".")[0] for name in names}, module.name
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "compile", "__import__"}, module.name
