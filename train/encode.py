"""Encoders as files: exported once, then run by the engine for training and serving alike; their embeddings are kept.

Features are computed by ONNX Runtime in fp32, which is torch's equal on the rows compared at export and more than twice as fast
on two cores. An encoder is named by the digest of its weights and tokenizer, and so are its engines and its embeddings.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from core.batches import plan_batches
from core.bundle import ENCODER, TOKENIZER, Manifest, Variant, Vocabulary, file_sha256
from core.encoder import OnnxEncoder, load_tokenizer, shared_encoder
from core.home import write_atomically
from train.segments import Segments, keys_of

FloatMatrix = NDArray[np.float32]
OnShare = Callable[[float], None]

VARIANTS: dict[Variant, str] = {"fp32": f"{ENCODER}/onnx/fp32.onnx", "int8": f"{ENCODER}/onnx/int8.onnx"}
_FACTS = "facts.json"
EXPORTER = 3
_KEPT_AT_ONCE = 8_192


# None, unless a process says that it will soon want the same engine again: each takes the memory of an encoder.
_kept_engines: deque[OnnxEncoder] = deque(maxlen=0)


def keep_engines(count: int) -> None:
    """Have this process keep the ``count`` engines it used last, which take part of a second to load."""
    global _kept_engines
    _kept_engines = deque(_kept_engines, maxlen=count)


def _ignore(_: float) -> None:
    return


class EncoderFacts(BaseModel):
    """What is known of an exported encoder without opening its weights."""

    base: str
    digest: str
    hidden: int
    max_positions: int
    encoder_gap: float
    vocabulary: Vocabulary | None = None
    # Which way of exporting wrote the engines; those of another way are not taken from the cache.
    exporter: int = 1


@dataclass(frozen=True)
class ExportedEncoder:
    """An encoder in ``folder``, laid out as in a bundle: ``encoder/tokenizer.json``, ``encoder/onnx/fp32.onnx`` and so on."""

    folder: Path
    facts: EncoderFacts

    @classmethod
    def of_bundle(cls, folder: Path, manifest: Manifest) -> ExportedEncoder | None:
        """Return the encoder of a bundle, None when it has n-grams alone."""
        spec = manifest.encoder
        if spec is None:
            return None
        gap = manifest.parity.encoder_gap if manifest.parity else 0.0
        facts = EncoderFacts(
            base=spec.base,
            digest=spec.weights_sha256,
            hidden=spec.hidden,
            max_positions=spec.max_tokens,
            encoder_gap=gap,
            vocabulary=spec.vocabulary,
        )
        return cls(folder, facts)

    @classmethod
    def of_cache(cls, cache: Path, digest: str) -> ExportedEncoder | None:
        """Return the encoder that an earlier training left in the cache, None when a part of it is missing."""
        folder = cache / "encoders" / digest[:32]
        if not all((folder / name).is_file() for name in (TOKENIZER, *VARIANTS.values())):
            return None
        try:
            facts = EncoderFacts.model_validate_json((folder / _FACTS).read_bytes())
        except (OSError, ValueError):
            return None
        return cls(folder, facts) if facts.exporter == EXPORTER else None

    def keep(self, cache: Path) -> ExportedEncoder:
        """Move this freshly exported encoder into the cache; a second whole one of the same digest is dropped."""
        target = cache / "encoders" / self.facts.digest[:32]
        write_atomically(self.folder / _FACTS, self.facts.model_dump_json().encode())
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.of_cache(cache, self.facts.digest) is None:
            shutil.rmtree(target, ignore_errors=True)
        try:
            os.rename(self.folder, target)
        except OSError:
            # It was there before, or another process was quicker; contents of equal digest are equal.
            shutil.rmtree(self.folder, ignore_errors=True)
        return ExportedEncoder(target, self.facts)

    def link_into(self, bundle: Path) -> None:
        """Put the files into ``bundle`` as hard links where the disk can, so that versions share them."""
        for source in sorted((self.folder / ENCODER).rglob("*")):
            target = bundle / source.relative_to(self.folder)
            if source.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:
                shutil.copy2(source, target)

    def tokenize(self, texts: Sequence[str], *, max_tokens: int) -> list[list[int]]:
        """Return the token ids of cleaned texts, cut at ``max_tokens``."""
        tokenizer = load_tokenizer(self.folder / TOKENIZER, max_tokens=max_tokens)
        return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]

    def engine_digest(self, variant: Variant) -> str:
        """Return the digest of the engine file: another export of the same weights gives other embeddings."""
        path = self.folder / VARIANTS[variant]
        found = path.stat()
        # A tenth of a second each time; the same file, written at the same moment, need not be read again.
        return _digest(path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))

    def embed_ids(self, ids: Sequence[list[int]], variant: Variant, on_share: OnShare = _ignore) -> FloatMatrix:
        """Return embeddings (n, h) of token sequences, in their order; ``on_share`` hears the share done."""
        engine = shared_encoder(self.folder / VARIANTS[variant], self.engine_digest(variant))
        _kept_engines.append(engine)
        out = np.empty((len(ids), self.facts.hidden), dtype=np.float32)
        done = 0
        for batch in plan_batches([len(sequence) for sequence in ids], max_texts=32, max_tokens=4096):
            out[batch] = engine.embed([ids[place] for place in batch])
            done += len(batch)
            on_share(done / len(ids))
        return out


class EmbeddingCache:
    """Embeddings on disk by encoder, variant and length at which texts are cut; rows found by the hash of their text.

    It only saves time: what is missing or damaged is computed again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "embeddings"

    def embed(
        self,
        encoder: ExportedEncoder,
        texts: Sequence[str],
        *,
        max_tokens: int,
        variant: Variant = "fp32",
        on_share: OnShare = _ignore,
    ) -> FloatMatrix:
        """Return embeddings (n, h) of cleaned texts, computing those that are not kept yet."""
        kept = Segments(self._folder, f"{encoder.engine_digest(variant)[:32]}-{max_tokens}", encoder.facts.hidden)
        keys = keys_of(texts)
        out = np.empty((len(texts), encoder.facts.hidden), dtype=np.float32)
        missing = np.flatnonzero(~kept.fill(keys, out))
        if len(missing):
            _, first, same = np.unique(keys[missing], axis=0, return_index=True, return_inverse=True)
            fresh = missing[first]
            # What is computed is kept piece by piece, so that who is interrupted need not begin again.
            for start in range(0, len(fresh), _KEPT_AT_ONCE):
                part = fresh[start : start + _KEPT_AT_ONCE]
                ids = encoder.tokenize([texts[place] for place in part], max_tokens=max_tokens)
                out[part] = encoder.embed_ids(ids, variant, _part_of(on_share, start, len(part), len(fresh)))
                kept.add(keys[part], out[part])
            repeated = fresh[same.ravel()] != missing
            out[missing[repeated]] = out[fresh[same.ravel()[repeated]]]
        on_share(1.0)
        return out


def _part_of(on_share: OnShare, done: int, part: int, total: int) -> OnShare:
    return lambda share: on_share((done + share * part) / total)


@lru_cache(maxsize=64)
def _digest(path: Path, _identity: tuple[int, ...]) -> str:
    return file_sha256(path)
