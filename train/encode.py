"""Encoders as files: exported once, then run by the engine for training and serving alike; their embeddings are kept.

Features are computed by ONNX Runtime in fp32, which is torch's equal on the rows compared at export and more than twice as fast
on two cores. An encoder is named by the digest of its weights and tokenizer, and so are its engines and its embeddings.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from safetensors.numpy import load_file, save_file

from core.batches import plan_batches
from core.bundle import ENCODER, TOKENIZER, Manifest, Variant, Vocabulary, file_sha256
from core.encoder import load_tokenizer, shared_encoder
from core.home import write_atomically

FloatMatrix = NDArray[np.float32]
OnShare = Callable[[float], None]

VARIANTS: dict[Variant, str] = {"fp32": f"{ENCODER}/onnx/fp32.onnx", "int8": f"{ENCODER}/onnx/int8.onnx"}
_FACTS = "facts.json"
EXPORTER = 2


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
        return file_sha256(self.folder / VARIANTS[variant])

    def embed_ids(self, ids: Sequence[list[int]], variant: Variant, on_share: OnShare = _ignore) -> FloatMatrix:
        """Return embeddings (n, h) of token sequences, in their order; ``on_share`` hears the share done."""
        engine = shared_encoder(self.folder / VARIANTS[variant], self.engine_digest(variant))
        out = np.empty((len(ids), self.facts.hidden), dtype=np.float32)
        done = 0
        for batch in plan_batches([len(sequence) for sequence in ids], max_texts=32, max_tokens=4096):
            out[batch] = engine.embed([ids[place] for place in batch])
            done += len(batch)
            on_share(done / len(ids))
        return out


class EmbeddingCache:
    """Embeddings on disk, a file for each encoder and variant, rows found by the hash of their text.

    The file only saves time: when it is missing, damaged or of another shape, embeddings are computed again.
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
        path = self._folder / f"{encoder.engine_digest(variant)[:32]}-{max_tokens}.safetensors"
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16] for text in texts]
        kept = _read(path, encoder.facts.hidden)
        missing = {key: place for place, key in enumerate(keys) if key not in kept}
        if missing:
            places = list(missing.values())
            ids = encoder.tokenize([texts[place] for place in places], max_tokens=max_tokens)
            fresh = encoder.embed_ids(ids, variant, on_share)
            kept |= {keys[place]: row for place, row in zip(places, fresh, strict=True)}
            _write(path, kept)
        on_share(1.0)
        return np.stack([kept[key] for key in keys]) if keys else np.empty((0, encoder.facts.hidden), np.float32)


def _read(path: Path, hidden: int) -> dict[bytes, FloatMatrix]:
    try:
        stored = load_file(path)
        rows, keys = stored["rows"], stored["keys"]
    except Exception:
        # A damaged cache, whatever the damage, is the same as none.
        return {}
    if rows.ndim != 2 or rows.shape[1] != hidden or keys.shape != (len(rows), 16):
        return {}
    return {key.tobytes(): row for key, row in zip(keys, rows, strict=True)}


def _write(path: Path, kept: dict[bytes, FloatMatrix]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    keys = np.frombuffer(b"".join(kept), dtype=np.uint8).reshape(len(kept), 16)
    save_file({"keys": keys.copy(), "rows": np.stack(list(kept.values()))}, temporary)
    os.replace(temporary, path)
