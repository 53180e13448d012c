"""Which engine answers on this machine: among the variants that proved true to torch, the one that is fastest here.

Which one that is depends on the processor (8-bit products gain a tenth on one and threefold on another), so it is measured
where it runs: parity first, speed second. What was measured is kept; a version with the same encoder costs no second look.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import statistics
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from time import perf_counter

import onnxruntime as ort
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.bundle import TOKENIZER, EncoderSpec, Manifest, Variant
from core.encoder import OnnxEncoder, Provider, load_tokenizer, thread_count
from core.home import write_atomically

# Answers differ a little between variants, so the one that was judged is left only for a gain that is no accident of timing.
_LEAST_GAIN = 1.15
_BATCH_TEXTS = 32
_ROUNDS = 5

_logger = logging.getLogger("hone.engine")


class EngineChoice(BaseModel):
    """The engine of one encoder on one machine, and what spoke for it."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    variant: Variant
    provider: Provider
    threads: int
    texts_per_s: dict[str, float] = Field(
        description="Measured here in batches of 32, by `variant/provider`; empty: nothing was."
    )
    reason: str


class _Candidate(BaseModel):
    model_config = ConfigDict(frozen=True)

    variant: Variant
    provider: Provider

    @property
    def name(self) -> str:
        return f"{self.variant}/{self.provider}"


def choose_engine(folder: Path, manifest: Manifest, *, threads: int = 0, cache: Path | None = None) -> EngineChoice | None:
    """Return the engine for the bundle in ``folder``; None for one without an encoder.

    Args:
        folder: the bundle, verified.
        manifest: its manifest.
        threads: of the engine; 0 is one per core.
        cache: where a measurement is kept; None measures nothing and takes what the bundle was judged with.
    """
    spec = manifest.encoder
    if spec is None:
        return None
    judged = _Candidate(variant=spec.serving, provider="cpu")
    candidates = _candidates(spec)
    if cache is None or len(candidates) == 1 or not manifest.probes:
        why = "the only variant that agrees with torch" if len(candidates) == 1 else "the variant the version was judged with"
        return _choice(judged, {}, why, threads)
    path = cache / "engines" / f"{_fingerprint(manifest, spec, threads)}.json"
    try:
        return EngineChoice.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        pass  # not measured here yet, or by a release that wrote it otherwise
    choice = _decide(judged, _measure(folder, manifest, spec, candidates, threads), threads)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, choice.model_dump_json().encode())
    except OSError as error:
        _logger.warning("the choice of engine could not be kept: %s", type(error).__name__)
    return choice


def _candidates(spec: EncoderSpec) -> list[_Candidate]:
    """Return what may answer: the judged variant, and fp32, which equals torch; on a GPU too, where there is one."""
    variants: list[Variant] = [spec.serving] if spec.serving == "fp32" else [spec.serving, "fp32"]
    found = [_Candidate(variant=variant, provider="cpu") for variant in variants]
    if "CUDAExecutionProvider" in ort.get_available_providers() and any(Path("/dev").glob("nvidia[0-9]*")):
        found.append(_Candidate(variant="fp32", provider="cuda"))
    return found


def _measure(
    folder: Path, manifest: Manifest, spec: EncoderSpec, candidates: Sequence[_Candidate], threads: int
) -> dict[str, float]:
    """Return texts per second by candidate, medians of rounds in which they take turns; what does not run is left out."""
    tokenizer = load_tokenizer(folder / TOKENIZER, max_tokens=spec.max_tokens)
    ids = [encoding.ids for encoding in tokenizer.encode_batch([probe.text for probe in manifest.probes])]
    batch = sorted((ids * _BATCH_TEXTS)[:_BATCH_TEXTS], key=len)
    encoders: dict[str, OnnxEncoder] = {}
    for candidate in candidates:
        try:
            encoder = OnnxEncoder(folder / spec.variants[candidate.variant], threads=threads, provider=candidate.provider)
            encoder.embed(batch)
        except Exception as error:
            # ONNX Runtime raises a dozen unrelated types; whatever it is, this candidate does not run here.
            _logger.warning("%s is no engine here: %s", candidate.name, type(error).__name__)
        else:
            encoders[candidate.name] = encoder
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(_ROUNDS):
        for name, encoder in encoders.items():
            started = perf_counter()
            encoder.embed(batch)
            seconds[name].append(perf_counter() - started)
    return {name: round(len(batch) / statistics.median(taken), 1) for name, taken in seconds.items()}


def _decide(judged: _Candidate, texts_per_s: dict[str, float], threads: int) -> EngineChoice:
    """Return the fastest, or the judged one unless another gains enough."""
    if judged.name not in texts_per_s:
        return _choice(judged, texts_per_s, "the variant the version was judged with; it could not be measured", threads)
    fastest = max(texts_per_s, key=lambda name: texts_per_s[name])
    gain = texts_per_s[fastest] / texts_per_s[judged.name]
    if fastest == judged.name or gain < _LEAST_GAIN:
        others = [rate for name, rate in texts_per_s.items() if name != judged.name]
        margin = f", {texts_per_s[judged.name] / max(others):.2f} times the next" if others else ""
        return _choice(judged, texts_per_s, f"agrees with torch and is not beaten here{margin}", threads)
    variant, _, provider = fastest.partition("/")
    winner = _Candidate.model_validate({"variant": variant, "provider": provider})
    return _choice(winner, texts_per_s, f"{gain:.2f} times as fast here as {judged.name}, and equals torch", threads)


def _choice(candidate: _Candidate, texts_per_s: dict[str, float], reason: str, threads: int) -> EngineChoice:
    return EngineChoice(
        variant=candidate.variant,
        provider=candidate.provider,
        threads=thread_count(threads),
        texts_per_s=texts_per_s,
        reason=reason,
    )


def _fingerprint(manifest: Manifest, spec: EncoderSpec, threads: int) -> str:
    """Return what a measurement holds for: these engine files on this kind of processor, with this many threads."""
    files = [manifest.files.get(name, "") for name in sorted(spec.variants.values())]
    parts = [*files, spec.serving, _processor(), str(thread_count(threads)), ort.__version__]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@lru_cache(1)
def _processor() -> str:
    """Return a description that differs where engine speeds do."""
    wanted = ("model name", "flags", "Features")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
