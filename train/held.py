"""What a version in the making said of its validation rows before the head was refitted with them, kept in the bundle.

Thresholds are chosen on it: rows that a head has learned flatter it, and test rows may choose nothing. It holds numbers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from core.errors import BundleError

HELD = "validation.safetensors"


@dataclass(frozen=True)
class Held:
    """``v`` validation rows: the right label and the best answer as places among the labels, and the answer's probability."""

    truth: NDArray[np.int64]
    answers: NDArray[np.int64]
    confidences: NDArray[np.float32]

    @classmethod
    def of(cls, scores: NDArray[np.float32], truth: NDArray[np.int64]) -> Held:
        """Return what is kept of probabilities (v, c)."""
        return cls(truth, scores.argmax(axis=1), scores.max(axis=1))

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        tensors = {
            "truth": self.truth.astype(np.int32),
            "answers": self.answers.astype(np.int32),
            "confidences": self.confidences.astype(np.float32),
        }
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)


def read_held(folder: Path) -> Held | None:
    """Return what the bundle in ``folder`` keeps; None for one without validation rows, or of an earlier release.

    Raises:
        BundleError: there is such a file, and it cannot be read.
    """
    path = folder / HELD
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
        truth, answers, confidences = (tensors[name] for name in ("truth", "answers", "confidences"))
    except (OSError, SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path.name} does not hold answers to validation rows") from error
    if not (truth.shape == answers.shape == confidences.shape and truth.ndim == 1):
        raise BundleError(f"{path.name} holds different numbers of labels, answers and probabilities")
    return Held(truth.astype(np.int64), answers.astype(np.int64), confidences.astype(np.float32))
