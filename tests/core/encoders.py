"""A tiny real encoder, made without torch: a WordPiece tokenizer, a mean-pooling ONNX graph, and bundles that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing

from core.bundle import CARD, ENCODER, HEAD, NGRAMS, TOKENIZER, EncoderSpec, Lineage, Manifest, NgramSpec, Probe, seal
from core.classifier import Classifier, Head
from core.ngrams import Ngrams
from core.schemas import now
from core.text import TextSettings

WORDS = ("good", "bad", "phone", "not", "very", "产", "品", "好", "!", "##s")
LABELS = ("positive", "negative", "mixed")
HIDDEN = 4
MAX_TOKENS = 8
FP32, INT8 = f"{ENCODER}/onnx/fp32.onnx", f"{ENCODER}/onnx/int8.onnx"


def write_tokenizer(path: Path, *, special: bool = True) -> None:
    """Write a WordPiece tokenizer over ``WORDS`` that, when ``special``, puts two tokens around every text."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    unknown = pieces[1]
    tokenizer = Tokenizer(WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token=unknown))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    if special:
        tokenizer.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))


def write_graph(
    path: Path,
    *,
    seed: int = 0,
    hidden: int = HIDDEN,
    inputs: Sequence[str] = (),
    output: str = "embedding",
    scale: float = 1.0,
) -> None:
    """Write a graph that looks token vectors up, takes their mean over the mask and scales it to length 1.

    With a ``scale`` that is not a number, nothing of what it answers is one.
    """
    ids, mask = inputs or ("input_ids", "attention_mask")
    table = np.random.default_rng(seed).normal(size=(4 + len(WORDS), HIDDEN)).astype(np.float32) * np.float32(scale)
    constants: dict[str, NDArray[Any]] = {
        "table": table,
        "one": np.array([1], dtype=np.int64),
        "two": np.array([2], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", ids], ["vectors"]),
        helper.make_node("Cast", [mask], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weights", "two"], ["columns"]),
        helper.make_node("Mul", ["vectors", "columns"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "one"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["weights", "one"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("LpNormalization", ["mean"], [output], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "mean_pooling",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "l"]) for name in (ids, mask)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", HIDDEN])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def tiny_head(seed: int, *, ngrams: int = len(WORDS)) -> Head:
    """Return a head for ``HIDDEN`` features and ``ngrams`` n-grams over ``LABELS``."""
    random = np.random.default_rng(seed)

    def weights(*shape: int) -> NDArray[np.float32]:
        return (3.0 * random.normal(size=shape)).astype(np.float32)

    return Head(weights(HIDDEN, len(LABELS)), weights(ngrams, len(LABELS)), weights(len(LABELS)))


def write_encoder_bundle(folder: Path, *, head_seed: int = 0, encoder_seed: int = 0) -> Manifest:
    """Write a sealed bundle with both kinds of features; its ``int8`` variant is another graph, to tell the two apart."""
    folder.mkdir(parents=True)
    write_tokenizer(folder / TOKENIZER)
    write_graph(folder / FP32, seed=encoder_seed)
    write_graph(folder / INT8, seed=encoder_seed + 1)
    (folder / ENCODER / "config.json").write_text('{"hidden_size": 4}', encoding="utf-8")
    (folder / CARD).write_text("# A tiny classifier\n", encoding="utf-8")
    idf = np.linspace(1.0, 2.0, len(WORDS), dtype=np.float32)
    Ngrams(1, {word: place for place, word in enumerate(WORDS)}, idf).save(folder / NGRAMS)
    tiny_head(head_seed).save(folder / HEAD)
    sealed = seal(folder, _manifest())
    scores = Classifier.load(folder, checked=False).predict(WORDS)
    probes = [
        Probe(text=word, label=LABELS[int(row.argmax())], score=float(row.max()))
        for word, row in zip(WORDS, scores, strict=True)
    ]
    return seal(folder, sealed.model_copy(update={"probes": probes}))


def _manifest() -> Manifest:
    encoder = EncoderSpec(
        base="tiny",
        hidden=HIDDEN,
        max_tokens=MAX_TOKENS,
        weights_sha256="0" * 64,
        variants={"fp32": FP32, "int8": INT8},
        serving="fp32",
    )
    lineage = Lineage(
        parent=None,
        dataset="0" * 64,
        snapshot="0" * 64,
        run=None,
        speed="full",
        seed=0,
        settings={},
        libraries={},
        rows={"train": 3},
        train_s=0.0,
    )
    return Manifest(
        created_at=now(),
        labels=list(LABELS),
        text=TextSettings.model_validate({}),
        features="both",
        encoder=encoder,
        ngrams=NgramSpec(size=len(WORDS), longest=1, min_documents=1),
        temperature=1.5,
        metrics={"accuracy": 0.9},
        parity=None,
        lineage=lineage,
        probes=[],
    )
