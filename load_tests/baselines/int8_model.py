"""The bundle's int8 engine with its tokenizer and head, for servers that take any Python: what their author would write.

It answers with the encoder's share of the head and leaves the n-grams out, where the bundle has any. Nothing of the product is
imported, and nothing beyond NumPy, ONNX Runtime, safetensors and tokenizers, so that it runs in environments of their own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

Answer = tuple[str, float]

# Half of what comes over HTTP at once. BANKING77's test texts, 32 at a time and sorted, int8 engine, 2 threads, on a machine
# with other work, texts per second of processor time, median of 4 rounds: 78 in one batch, 134 in batches of 16, 179 of 8. Wall
# clock on a quiet machine has not been measured.
_BATCH_TEXTS = 16


class Model:
    """Tokenizer, encoder and linear head of a bundle."""

    def __init__(self, bundle: Path, threads: int) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
        encoder = manifest["encoder"]
        self._labels: list[str] = manifest["labels"]
        self._temperature = float(manifest["temperature"])
        head = load_file(bundle / "head.safetensors")
        self._weight, self._bias = head["encoder.weight"], head["bias"]
        self._tokenizer = Tokenizer.from_file(str(bundle / "encoder/tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(encoder["max_tokens"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(
            str(bundle / encoder["variants"][encoder["serving"]]), options, providers=["CPUExecutionProvider"]
        )

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        """Return the best label and its probability for each text."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        answers: list[Answer] = [("", 0.0)] * len(ids)
        for start in range(0, len(order), _BATCH_TEXTS):
            places = order[start : start + _BATCH_TEXTS]
            scores = self._score([ids[place] for place in places])
            best = scores.argmax(axis=1).tolist()
            for row, place in enumerate(places):
                answers[place] = (self._labels[best[row]], float(scores[row, best[row]]))
        return answers

    def _score(self, ids: list[list[int]]) -> NDArray[np.float32]:
        longest = max(map(len, ids))
        tokens = np.zeros((len(ids), longest), dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, sequence in enumerate(ids):
            tokens[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        (embedding,) = self._session.run(["embedding"], {"input_ids": tokens, "attention_mask": mask})
        logits = (embedding @ self._weight + self._bias) / self._temperature
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True), dtype=np.float32)
