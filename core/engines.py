"""Which engine answers on this machine: among the variants that proved true to torch, the one that is fastest here.

Which one that is depends on the processor (8-bit products gain a tenth on one and threefold on another), so it is measured
where it runs: parity first, speed second. What was measured is kept; a version with the same encoder costs no second look.

The cores of an engine can work on one batch together, or each on a batch of its own: in *lanes*. A step of MiniLM takes so
little that threads spend most of their time meeting (int8, batches of 8, 2 cores with AVX-512 VNNI and AMX: 598 texts/s in one
lane of two threads, 920 in two of one), while a large encoder fills them. So lanes are measured too, and the size of batches.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import statistics
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Thread
from time import perf_counter

import onnxruntime as ort
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.bundle import TOKENIZER, EncoderSpec, Manifest, Variant
from core.encoder import OnnxEncoder, Provider, load_tokenizer, thread_count
from core.home import write_atomically

# Answers differ a little between variants, so the one that was judged is left only for a gain that is no accident of timing.
_LEAST_GAIN = 1.15
# Fewer lanes use less memory, and give a lone text all the cores.
_LEAST_LANE_GAIN = 1.05
# What many callers with one text each come to, and what callers with many texts send. The rate of an engine is that of as many
# texts in batches of each size.
_BATCH_TEXTS = (8, 16, 32)
# Of sizes that are as good within this, the larger: it costs fewer calls.
_SAME_RATIO = 0.97
_ROUNDS = 3

_logger = logging.getLogger("hone.engine")


class EngineChoice(BaseModel):
    """The engine of one encoder on one machine, and what spoke for it."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    variant: Variant
    provider: Provider
    threads: int = Field(description="Threads that work on one batch.")
    lanes: int = Field(description="Batches at work at a time.")
    batch_texts: int | None = Field(description="Texts in a batch beyond which the engine gets slower; null: not measured.")
    texts_per_s: dict[str, float] = Field(
        description="Measured here in batches of 8, 16 and 32, by `variant/provider` and lanes; empty: nothing was."
    )
    reason: str


class _Candidate(BaseModel):
    model_config = ConfigDict(frozen=True)

    variant: Variant
    provider: Provider
    lanes: int = 1

    @property
    def engine(self) -> str:
        return f"{self.variant}/{self.provider}"

    @property
    def name(self) -> str:
        return self.engine if self.lanes == 1 else f"{self.engine} x{self.lanes}"


# Texts per second by candidate and size of batches.
_Rates = dict[_Candidate, dict[int, float]]


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
    candidates = _candidates(spec, thread_count(threads))
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


def _candidates(spec: EncoderSpec, threads: int) -> list[_Candidate]:
    """Return what may answer: the judged variant, and fp32, which equals torch, in lanes; on a GPU too, where there is one."""
    variants: list[Variant] = [spec.serving] if spec.serving == "fp32" else [spec.serving, "fp32"]
    lanes = [lanes for lanes in (1, 2, 4, 8, 16, 32, 64) if threads % lanes == 0]
    found = [_Candidate(variant=variant, provider="cpu", lanes=number) for variant in variants for number in lanes]
    if "CUDAExecutionProvider" in ort.get_available_providers() and any(Path("/dev").glob("nvidia[0-9]*")):
        found.append(_Candidate(variant="fp32", provider="cuda"))
    return found


def _measure(folder: Path, manifest: Manifest, spec: EncoderSpec, candidates: Sequence[_Candidate], threads: int) -> _Rates:
    """Return medians of rounds in which the candidates take turns; what does not run is left out."""
    tokenizer = load_tokenizer(folder / TOKENIZER, max_tokens=spec.max_tokens)
    ids = [encoding.ids for encoding in tokenizer.encode_batch([probe.text for probe in manifest.probes])]
    batches = {size: sorted((ids * size)[:size], key=len) for size in _BATCH_TEXTS}
    encoders: dict[_Candidate, OnnxEncoder] = {}
    for candidate in candidates:
        own = thread_count(threads) // candidate.lanes
        try:
            encoder = OnnxEncoder(folder / spec.variants[candidate.variant], threads=own, provider=candidate.provider)
            encoder.embed(batches[_BATCH_TEXTS[0]])
        except Exception as error:
            # ONNX Runtime raises a dozen unrelated types; whatever it is, this candidate does not run here.
            _logger.warning("%s is no engine here: %s", candidate.name, type(error).__name__)
        else:
            encoders[candidate] = encoder
    seconds: dict[tuple[_Candidate, int], list[float]] = {}
    for _ in range(_ROUNDS):
        for candidate, encoder in encoders.items():
            for size, batch in batches.items():
                seconds.setdefault((candidate, size), []).append(_seconds(encoder, batch, candidate.lanes))
    return {
        candidate: {size: candidate.lanes * size / statistics.median(seconds[candidate, size]) for size in _BATCH_TEXTS}
        for candidate in encoders
    }


def _seconds(encoder: OnnxEncoder, batch: Sequence[list[int]], lanes: int) -> float:
    """Return how long ``lanes`` batches at a time take."""
    # The caller's own thread is one of them: to start a thread for a single lane would count against it.
    others = [Thread(target=encoder.embed, args=(batch,)) for _ in range(lanes - 1)]
    started = perf_counter()
    for other in others:
        other.start()
    encoder.embed(batch)
    for other in others:
        other.join()
    return perf_counter() - started


def _decide(judged: _Candidate, rates: _Rates, threads: int) -> EngineChoice:
    """Return the fastest, or the judged variant unless another gains enough; in the lanes that suit it."""
    best: dict[str, _Candidate] = {}
    for candidate in sorted(rates, key=lambda candidate: candidate.lanes):
        known = best.get(candidate.engine)
        if known is None or _rate(rates[candidate]) > _LEAST_LANE_GAIN * _rate(rates[known]):
            best[candidate.engine] = candidate
    texts_per_s = {candidate.engine: _rate(rates[candidate]) for candidate in best.values()}
    if judged.engine not in best:
        return _choice(judged, rates, "the variant the version was judged with; it could not be measured", threads)
    fastest = max(texts_per_s, key=lambda name: texts_per_s[name])
    gain = texts_per_s[fastest] / texts_per_s[judged.engine]
    if fastest == judged.engine or gain < _LEAST_GAIN:
        others = [rate for name, rate in texts_per_s.items() if name != judged.engine]
        margin = f", {texts_per_s[judged.engine] / max(others):.2f} times the next" if others else ""
        return _choice(best[judged.engine], rates, f"agrees with torch and is not beaten here{margin}", threads)
    return _choice(best[fastest], rates, f"{gain:.2f} times as fast here as {judged.engine}, and equals torch", threads)


def _rate(by_size: dict[int, float]) -> float:
    """Return the texts per second of as many texts in batches of each size."""
    return len(by_size) / sum(1.0 / rate for rate in by_size.values())


def _best_size(by_size: dict[int, float]) -> int:
    return max(size for size, rate in by_size.items() if rate >= _SAME_RATIO * max(by_size.values()))


def _choice(candidate: _Candidate, rates: _Rates, reason: str, threads: int) -> EngineChoice:
    own = rates.get(candidate)
    return EngineChoice(
        variant=candidate.variant,
        provider=candidate.provider,
        threads=thread_count(threads) // candidate.lanes,
        lanes=candidate.lanes,
        # A GPU gains far beyond the sizes that are tried.
        batch_texts=_best_size(own) if own is not None and candidate.provider == "cpu" else None,
        texts_per_s={found.name: round(_rate(by_size), 1) for found, by_size in rates.items()},
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
