"""The encoder as serving runs it: ONNX Runtime over token ids, embeddings out."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from core.bundle import check_json_size
from core.errors import BundleError

FloatMatrix = NDArray[np.float32]
IntMatrix = NDArray[np.int64]
Provider = Literal["cpu", "cuda"]

_PROVIDERS = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"]}


def thread_count(threads: int) -> int:
    """Return ``threads``, or for 0 one for each core this process may use."""
    if threads:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pad_ids(ids: Sequence[Sequence[int]]) -> tuple[IntMatrix, IntMatrix]:
    """Return token ids (n, longest), filled up with zeros, and the mask (n, longest) that is 1 where a token stands."""
    longest = max(map(len, ids))
    tokens = np.zeros((len(ids), longest), dtype=np.int64)
    mask = np.zeros((len(ids), longest), dtype=np.int64)
    for row, sequence in enumerate(ids):
        tokens[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return tokens, mask


class OnnxEncoder:
    """Runs one exported encoder; several threads may each run a batch of their own at a time."""

    def __init__(self, path: Path, *, threads: int = 0, provider: Provider = "cpu") -> None:
        """Load ``path`` with ``threads`` threads (0: one per core) on ``provider``.

        Raises:
            BundleError: when ONNX Runtime cannot load the file, or it takes or gives something else.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = thread_count(threads)
        options.inter_op_num_threads = 1
        # Within a batch the threads spin: to wake them for each of its many small steps costs a lone text half its time again.
        # Between batches they must not, they would take the cores from the HTTP side.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3
        # By digest and longest text; those that were read for it, so that the next head of this encoder need not read them.
        self.tokenizers: dict[tuple[str, int], Tokenizer] = {}
        self._probed: tuple[list[list[int]], FloatMatrix] | None = None
        try:
            self._session = ort.InferenceSession(str(path), options, providers=_PROVIDERS[provider])
        except Exception as error:
            # ONNX Runtime raises a dozen unrelated types here; all mean that the file is unusable.
            raise BundleError(f"{path.name} cannot be loaded by ONNX Runtime ({type(error).__name__})") from error
        if self._session.get_providers()[0] != _PROVIDERS[provider][0]:
            # ONNX Runtime falls back to the CPU with no more than a line on the terminal.
            raise BundleError(f"{path.name} cannot be run on {provider}: ONNX Runtime fell back to the CPU")
        names = {value.name for value in self._session.get_inputs()}
        if names != {"input_ids", "attention_mask"}:
            raise BundleError(f"{path.name} takes {sorted(names)}, expected attention_mask and input_ids")
        outputs = sorted(value.name for value in self._session.get_outputs())
        if "embedding" not in outputs:
            raise BundleError(f"{path.name} gives {outputs}, expected embedding")

    def embed(self, ids: Sequence[Sequence[int]]) -> FloatMatrix:
        """Return the embeddings (n, h), each of Euclidean length 1, of ``n`` token sequences padded to the longest."""
        tokens, mask = pad_ids(ids)
        (embedding,) = self._session.run(["embedding"], {"input_ids": tokens, "attention_mask": mask})
        return np.asarray(embedding, dtype=np.float32)

    def embed_probes(self, ids: Sequence[Sequence[int]]) -> FloatMatrix:
        """Return what :meth:`embed` does; for the sequences it was asked for last, from memory.

        The versions that share an encoder have the same probes, and a new head is swapped in sooner without the engine's turn.
        """
        asked = [list(sequence) for sequence in ids]
        probed = self._probed
        if probed is None or probed[0] != asked:
            probed = self._probed = asked, self.embed(ids)
        return probed[1]


_sessions: weakref.WeakValueDictionary[tuple[str, int, Provider], OnnxEncoder] = weakref.WeakValueDictionary()
_sessions_lock = Lock()


def shared_encoder(path: Path, digest: str, *, threads: int = 0, provider: Provider = "cpu") -> OnnxEncoder:
    """Return the encoder with this content digest, loading it only if no living classifier has it already.

    A head-speed version differs from its parent by a small matrix; sharing the session makes its swap cost just that.
    """
    with _sessions_lock:
        encoder = _sessions.get((digest, threads, provider))
        if encoder is None:
            encoder = OnnxEncoder(path, threads=threads, provider=provider)
            _sessions[(digest, threads, provider)] = encoder
        return encoder


def held_encoder(digest: str, *, threads: int = 0, provider: Provider = "cpu") -> OnnxEncoder | None:
    """Return the encoder with this content digest if a living classifier has it, else None; nothing is read."""
    with _sessions_lock:
        return _sessions.get((digest, threads, provider))


def encoder_is_held(digest: str) -> bool:
    """Return whether a living classifier has the encoder with this content digest, whatever its threads."""
    with _sessions_lock:
        return any(held == digest for held, _, _ in list(_sessions))


def load_tokenizer(path: Path, *, max_tokens: int) -> Tokenizer:
    """Return the tokenizer of a bundle, cutting at ``max_tokens`` and never padding.

    Raises:
        BundleError: when the file is no tokenizer, is too large, or adds as many tokens to every text as ``max_tokens`` allows.
    """
    check_json_size(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        # The Rust library raises a bare Exception for every malformed file.
        raise BundleError(f"{path.name} is not a tokenizer file") from error
    added = tokenizer.num_special_tokens_to_add(is_pair=False)
    if max_tokens <= added:
        # The library would then not cut at all.
        raise BundleError(f"texts are cut at {max_tokens} tokens, and {path.name} adds {added} to every one")
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=max_tokens)
    return tokenizer
