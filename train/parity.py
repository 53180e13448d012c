"""Comparing what an engine answers with what it was exported from, and choosing the variant to serve by it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.bundle import Parity, Variant
from core.classifier import softmax

FloatMatrix = NDArray[np.float32]
IntVector = NDArray[np.int64]

# What the int8 variant may lose against fp32; beyond it fp32 is served.
INT8_LEAST_AGREEMENT = 0.99
INT8_MOST_LOSS = 0.003


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
