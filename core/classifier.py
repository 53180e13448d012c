"""Features and a linear head: the one kind of model Hone serves.

``logits = (embedding · W_e + ngrams · W_n + b) / temperature``. Work is split as serving needs it: :meth:`Classifier.prepare`
(text to token ids and n-grams, per text) and :meth:`Classifier.score` (a batch of those to probabilities).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tokenizers import Encoding, Tokenizer

from core.batches import plan_batches
from core.bundle import ENCODER, HEAD, NGRAMS, TOKENIZER, Manifest, Variant, read_manifest, verify
from core.encoder import FloatMatrix, OnnxEncoder, Provider, held_encoder, load_tokenizer, shared_encoder
from core.errors import BundleError
from core.labels import LabelSet
from core.ngrams import Ngrams, SparseRow
from core.text import clean
from core.windows import Reading, last_tokens, windows

Embed = Callable[[Sequence[Sequence[int]]], FloatMatrix]

# A probe may move by this much between machines: int8 kernels differ by instruction set.
PROBE_TOLERANCE = 0.15


@dataclass(frozen=True)
class Head:
    """The linear layer: ``encoder`` (h, c) or None, ``ngrams`` (k, c) or None, ``bias`` (c,)."""

    encoder: FloatMatrix | None
    ngrams: FloatMatrix | None
    bias: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        tensors = {"bias": self.bias}
        if self.encoder is not None:
            tensors["encoder.weight"] = self.encoder
        if self.ngrams is not None:
            tensors["ngrams.weight"] = self.ngrams
        save_file({name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in tensors.items()}, path)

    @classmethod
    def load(cls, path: Path) -> Head:
        """Read what :meth:`save` wrote.

        Raises:
            BundleError: when the file is damaged, or a weight is not a finite float32.
        """
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError, TypeError, AttributeError) as error:
            # The last two are how the library says that numpy has no such number type.
            raise BundleError(f"{path.name} is not a readable safetensors file") from error
        if "bias" not in tensors:
            raise BundleError(f"{path.name} lacks the tensor bias")
        for name, tensor in tensors.items():
            if tensor.dtype != np.float32:
                raise BundleError(f"{path.name} holds {name} as {tensor.dtype}, expected float32")
            if not np.isfinite(tensor).all():
                raise BundleError(f"{path.name} holds values in {name} that are not finite numbers")
        return cls(tensors.get("encoder.weight"), tensors.get("ngrams.weight"), tensors["bias"])


@dataclass(frozen=True, slots=True)
class Prepared:
    """One text, ready for the engine; ``rest`` holds what follows where it is read in windows."""

    ids: list[int]
    ngrams: SparseRow | None
    truncated: bool
    rest: tuple[Prepared, ...] = ()


def softmax(logits: FloatMatrix) -> FloatMatrix:
    """Return probabilities (n, c); rows are shifted by their largest element, so no exponential overflows."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


class Classifier:
    """One loaded bundle. Immutable and safe to share between threads."""

    def __init__(
        self, manifest: Manifest, head: Head, tokenizer: Tokenizer | None, encoder: OnnxEncoder | None, ngrams: Ngrams | None
    ) -> None:
        self.manifest = manifest
        self.labels = LabelSet(tuple(manifest.labels))
        self.head = head
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._ngrams = ngrams
        self.device: Literal["cpu", "gpu"] = "cpu"
        # Names the space its embeddings lie in: those of classifiers with one name can be compared.
        self.space: str | None = None
        # How many batches are best at work at a time, and of how many texts at most; who chose the engine says so.
        self.lanes = 1
        self.batch_texts: int | None = None
        self._check_shapes()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        threads: int = 0,
        variant: Variant | None = None,
        provider: Provider = "cpu",
        checked: bool = True,
    ) -> Classifier:
        """Return the classifier in ``folder``; with ``checked`` every checksum and probe is verified first.

        Without a ``variant`` the engine is the one that the bundle was judged with.

        Raises:
            BundleError: when the bundle is incomplete, altered, inconsistent, or answers its probes differently.
        """
        manifest = read_manifest(folder)
        file = _engine_file(folder.name, manifest, variant)
        # Where a living classifier has this very encoder, a new head is all there is to read: the swap costs milliseconds.
        held = held_encoder(manifest.files[file], threads=threads, provider=provider) if file else None
        tokenizer = held.tokenizers.get(_tokenizer_key(manifest)) if held else None
        if checked:
            verify(folder, unread=ENCODER if tokenizer is not None else None)
        head = Head.load(folder / HEAD)
        encoder = None
        if manifest.encoder is not None and file is not None:
            encoder = held or shared_encoder(folder / file, manifest.files[file], threads=threads, provider=provider)
            tokenizer = tokenizer or load_tokenizer(folder / TOKENIZER, max_tokens=manifest.encoder.max_tokens)
            encoder.tokenizers[_tokenizer_key(manifest)] = tokenizer
        ngrams = Ngrams.load(folder / NGRAMS) if manifest.ngrams is not None else None
        classifier = cls(manifest, head, tokenizer, encoder, ngrams)
        if file is not None:
            classifier.space = " ".join([manifest.files[file], *map(str, _tokenizer_key(manifest)), provider])
        classifier.device = "gpu" if encoder is not None and provider == "cuda" else "cpu"
        if checked:
            classifier.check_probes()
        return classifier

    def prepare(self, texts: Sequence[str], reading: Reading = "right") -> list[Prepared]:
        """Return each text as token ids and n-grams, in order; ``reading`` says which tokens of a long one.

        The n-grams are always those of the whole text, of every window too, as they are when the head is fitted.
        """
        cleaned = [clean(text, self.manifest.text) for text in texts]
        rows = [self._ngrams.row(text) for text in cleaned] if self._ngrams is not None else [None] * len(cleaned)
        if self._tokenizer is None:
            return [Prepared([], row, truncated=False) for row in rows]
        # The fast way leaves out where each token stands in the text, which nobody asks for.
        encodings = self._tokenizer.encode_batch_fast(cleaned)
        if reading != "right":
            return [_read(encoding, row, reading) for encoding, row in zip(encodings, rows, strict=True)]
        return [
            Prepared(encoding.ids, row, truncated=bool(encoding.overflowing))
            for encoding, row in zip(encodings, rows, strict=True)
        ]

    def logits(self, prepared: Sequence[Prepared]) -> FloatMatrix:
        """Return calibrated logits (n, c) of one batch, which the engine runs as it is."""
        return self._logits(prepared, self._encoder.embed if self._encoder is not None else None)

    def logits_and_embeddings(self, prepared: Sequence[Prepared]) -> tuple[FloatMatrix, FloatMatrix | None]:
        """Return what :meth:`logits` does, and the embeddings (n, h), of length 1, that they come from; None without any."""
        return self._read(prepared, self._encoder.embed if self._encoder is not None else None)

    def _logits(self, prepared: Sequence[Prepared], embed: Embed | None) -> FloatMatrix:
        return self._read(prepared, embed)[0]

    def _read(self, prepared: Sequence[Prepared], embed: Embed | None) -> tuple[FloatMatrix, FloatMatrix | None]:
        logits = np.tile(self.head.bias, (len(prepared), 1))
        embeddings: FloatMatrix | None = None
        if embed is not None and self.head.encoder is not None:
            embeddings = _embeddings(embed, [item.ids for item in prepared], len(self.head.encoder))
            logits += embeddings @ self.head.encoder
        if self.head.ngrams is not None:
            for row, item in enumerate(prepared):
                if item.ngrams is not None and len(item.ngrams.indices):
                    logits[row] += item.ngrams.values @ self.head.ngrams[item.ngrams.indices]
        return np.asarray(logits / self.manifest.temperature, dtype=np.float32), embeddings

    def score(self, prepared: Sequence[Prepared]) -> FloatMatrix:
        """Return probabilities (n, c) of one batch, columns in the order of ``labels``."""
        return softmax(self.logits(prepared))

    def predict(self, texts: Sequence[str], *, batch_texts: int = 32, batch_tokens: int = 4096) -> FloatMatrix:
        """Return probabilities (n, c) of any number of texts, batched by length."""
        prepared = self.prepare(texts)
        scores = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        for batch in plan_batches([len(item.ids) for item in prepared], max_texts=batch_texts, max_tokens=batch_tokens):
            scores[batch] = self.score([prepared[place] for place in batch])
        return scores

    def check_probes(self) -> None:
        """Answer the recorded probes again.

        Raises:
            BundleError: when there is no answer, or it is not finite, or it differs from the recorded one by more than
                ``PROBE_TOLERANCE``.
        """
        probes = self.manifest.probes
        if not probes:
            return
        try:
            prepared = self.prepare([probe.text for probe in probes])
            scores = softmax(self._logits(prepared, self._encoder.embed_probes if self._encoder is not None else None))
        except Exception as error:
            # An engine file that does not fit the rest: ONNX Runtime and numpy each raise types of their own.
            raise BundleError(f"the bundle cannot answer its probes ({type(error).__name__})") from error
        if not np.isfinite(scores).all():
            raise BundleError("the bundle answers its probes with values that are not finite numbers")
        for place, probe in enumerate(probes):
            if probe.label not in self.labels:
                raise BundleError(f"probe {place} names a label that is not among the bundle's {len(self.labels)}")
            gap = abs(float(scores[place, self.labels.index(probe.label)]) - probe.score)
            if not gap <= PROBE_TOLERANCE:
                raise BundleError(
                    f"probe {place} is answered {gap:.3f} away from the recorded probability; {PROBE_TOLERANCE} is allowed"
                )

    def _check_shapes(self) -> None:
        labels = len(self.labels)
        spec = self.manifest
        expected = {
            "encoder.weight": (self.head.encoder, spec.encoder and (spec.encoder.hidden, labels)),
            "ngrams.weight": (self.head.ngrams, spec.ngrams and (spec.ngrams.size, labels)),
            "bias": (self.head.bias, (labels,)),
        }
        for name, (tensor, shape) in expected.items():
            got = None if tensor is None else tensor.shape
            if got != shape:
                raise BundleError(f"the head's {name} has shape {got}; labels and features ask for {shape}")
        if self._ngrams is not None and spec.ngrams is not None and len(self._ngrams) != spec.ngrams.size:
            raise BundleError(f"the vocabulary has {len(self._ngrams)} n-grams, the manifest says {spec.ngrams.size}")


def _embeddings(embed: Embed, ids: Sequence[Sequence[int]], hidden: int) -> FloatMatrix:
    if all(ids):
        return embed(ids)
    # Nothing is left of a text once it is cleaned, and the tokenizer adds nothing: a mean over no token is no number.
    embeddings = np.zeros((len(ids), hidden), dtype=np.float32)
    if some := [row for row, sequence in enumerate(ids) if sequence]:
        embeddings[some] = embed([ids[row] for row in some])
    return embeddings


def _read(encoding: Encoding, row: SparseRow | None, reading: Reading) -> Prepared:
    if not encoding.overflowing:
        return Prepared(encoding.ids, row, truncated=False)
    if reading == "left":
        return Prepared(last_tokens(encoding), row, truncated=True)
    first, *rest = [Prepared(ids, row, truncated=False) for ids in windows(encoding)]
    return replace(first, rest=tuple(rest))


def _engine_file(name: str, manifest: Manifest, variant: Variant | None) -> str | None:
    """Return the engine file of a bundle, relative to it; None when its features need none."""
    if manifest.encoder is None:
        return None
    chosen = variant or manifest.encoder.serving
    file = manifest.encoder.variants.get(chosen)
    if file is None or file not in manifest.files:
        raise BundleError(f"{name} has no engine file for the variant {chosen}")
    return file


def _tokenizer_key(manifest: Manifest) -> tuple[str, int]:
    return manifest.files.get(TOKENIZER, ""), manifest.encoder.max_tokens if manifest.encoder else 0
