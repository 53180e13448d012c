"""Exporting a torch encoder to ONNX, quantising it, and proving that what is served equals what was trained."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from core.bundle import Vocabulary
from core.errors import BundleError
from train.attention import NotOneNode, one_node
from train.base import Base, PooledEncoder
from train.encode import EXPORTER, VARIANTS, EncoderFacts, ExportedEncoder
from train.quantise import quantise
from train.tensors import embed_ids

# Largest allowed distance between an embedding of length 1 from the fp32 engine and from torch.
MOST_GAP = 1e-3
_OPSET = 17
_RANDOM_TEXTS = 32
_RANDOM_TOKENS = 16


def export_encoder(
    base: Base,
    staging: Path,
    sample: Sequence[str],
    vocabulary: Vocabulary | None,
    *,
    rework: Callable[[Path], object] = lambda _: None,
) -> ExportedEncoder:
    """Write ``base`` under a new folder of ``staging`` in the layout of a bundle, after comparing engine and torch.

    Args:
        base: the encoder in torch.
        staging: where the folder is made.
        sample: cleaned texts on which the two are compared.
        vocabulary: what was done to the tokenizer, for the record.
        rework: changes the exported graph in its file, before it is compared and quantised.

    Raises:
        BundleError: when the exported graph gives other embeddings than torch.
    """
    folder = Path(tempfile.mkdtemp(dir=staging, prefix="encoder-"))
    base.save(folder / "encoder")
    (folder / VARIANTS["fp32"]).parent.mkdir(parents=True)
    _export_onnx(base, folder / VARIANTS["fp32"])
    rework(folder / VARIANTS["fp32"])
    facts = EncoderFacts(
        base=base.name,
        digest=base.digest(),
        hidden=base.hidden,
        max_positions=base.max_positions,
        encoder_gap=0.0,
        vocabulary=vocabulary,
        exporter=EXPORTER,
    )
    exported = ExportedEncoder(folder, facts)
    ids = exported.tokenize(sample, max_tokens=min(256, base.max_positions))
    gap = float(np.abs(embed_ids(base, ids) - exported.embed_ids(ids, "fp32")).max()) if ids else 0.0
    if not gap <= MOST_GAP:  # also true of NaN
        raise BundleError(f"the exported encoder differs from torch by {gap:.2g} on {len(ids)} texts; {MOST_GAP} is allowed")
    quantise(folder / VARIANTS["fp32"], folder / VARIANTS["int8"], _calibration(ids, base.tokenizer.get_vocab_size()))
    return ExportedEncoder(folder, facts.model_copy(update={"encoder_gap": gap}))


def _export_onnx(base: Base, path: Path) -> None:
    encoder = copy.deepcopy(base.encoder).eval()
    try:
        with one_node(encoder.transformer):
            trace(encoder, path)
    except NotOneNode:
        trace(encoder, path)


def trace(encoder: PooledEncoder, path: Path) -> None:
    """Write the graph that ``encoder`` goes through to ``path``."""
    # The tracing exporter: seven times quicker here than the one built on torch.export, whose graph of this model ONNX Runtime
    # refuses ("Duplicate definition of name"). Either way the comparison decides.
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


def _calibration(ids: Sequence[list[int]], vocabulary: int) -> list[list[int]]:
    """Return ``ids`` with sequences of random pieces added, so that words the sample lacks do not fall outside the scales."""
    random = np.random.default_rng(0)
    drawn = random.integers(0, vocabulary, size=(_RANDOM_TEXTS, _RANDOM_TOKENS))
    edges = (ids[0][:1], ids[0][-1:]) if ids else ([], [])
    return [*ids, *([*edges[0], *row, *edges[1]] for row in drawn.tolist())]
