"""Writing the parts of a fit as one sealed bundle, with its model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from core.bundle import CARD, HEAD, NGRAMS, EncoderSpec, Features, Lineage, Manifest, NgramSpec, Parity, Probe, Variant, seal
from core.classifier import Classifier, Head
from core.ngrams import Ngrams
from core.schemas import now
from core.text import TextSettings
from train.encode import VARIANTS, ExportedEncoder
from train.rows import Rows
from train.select import OptionReport

if TYPE_CHECKING:
    from train.request import FitRequest

_LIBRARIES = ("torch", "transformers", "onnxruntime-gpu", "onnxruntime", "tokenizers", "numpy", "scipy", "scikit-learn", "hone")

# Fixed texts, not users' ones: a loader repeats them to see that the engine works on its machine.
PROBE_TEXTS = (
    "This is a very good product and I like it a lot.",
    "I am still waiting for my card, what should I do?",
    "这是一个很普通的句子。",
    "Das ist ein ganz gewöhnlicher Satz.",
    "12:30 · ok?",
)


@dataclass(frozen=True)
class Parts:
    """What a bundle is made of."""

    head: Head
    temperature: float
    features: Features
    ngrams: Ngrams | None
    encoder: ExportedEncoder | None
    max_tokens: int
    parity: Parity | None
    serving: Variant
    metrics: dict[str, float]
    seconds: dict[str, float]
    doubted: int


@dataclass(frozen=True)
class Origin:
    """Where a fit comes from: hashes of its data, its run and its parent version."""

    snapshot: str
    dataset: str
    run: str | None
    parent: str | None


def write_bundle(
    folder: Path, parts: Parts, rows: Rows, request: FitRequest, origin: Origin, options: Sequence[OptionReport]
) -> Manifest:
    """Write and seal the bundle in the empty ``folder``, after letting it answer the probes once."""
    uses_encoder, uses_ngrams = parts.features != "ngrams", parts.features != "encoder"
    head = Head(parts.head.encoder if uses_encoder else None, parts.head.ngrams if uses_ngrams else None, parts.head.bias)
    head.save(folder / HEAD)
    if parts.ngrams is not None:
        parts.ngrams.save(folder / NGRAMS)
    if parts.encoder is not None:
        parts.encoder.link_into(folder)
    manifest = Manifest(
        created_at=now(),
        labels=list(rows.names),
        text=TextSettings.model_validate({}),
        features=parts.features,
        encoder=_encoder_spec(parts),
        ngrams=_ngram_spec(parts, rows),
        temperature=parts.temperature,
        metrics={name: round(value, 6) for name, value in parts.metrics.items()},
        parity=parts.parity,
        lineage=_lineage(parts, rows, request, origin),
        probes=[],
    )
    # Sealed once without probes, so that the recorded answers are those of the bundle as it will be loaded.
    sealed = seal(folder, manifest)
    scores = Classifier.load(folder, checked=False).predict(PROBE_TEXTS)
    best = scores.argmax(axis=1)
    probes = [
        Probe(text=text, label=rows.names.names[int(place)], score=round(float(scores[row, place]), 4))
        for row, (text, place) in enumerate(zip(PROBE_TEXTS, best, strict=True))
    ]
    complete = sealed.model_copy(update={"probes": probes})
    (folder / CARD).write_text(card(complete, options), encoding="utf-8")
    return seal(folder, complete)


def _encoder_spec(parts: Parts) -> EncoderSpec | None:
    if parts.encoder is None:
        return None
    facts = parts.encoder.facts
    return EncoderSpec(
        base=facts.base,
        hidden=facts.hidden,
        max_tokens=parts.max_tokens,
        weights_sha256=facts.digest,
        variants=VARIANTS,
        serving=parts.serving,
        vocabulary=facts.vocabulary,
    )


def _ngram_spec(parts: Parts, rows: Rows) -> NgramSpec | None:
    if parts.ngrams is None:
        return None
    return NgramSpec(size=len(parts.ngrams), longest=parts.ngrams.longest, min_documents=rows.least_documents())


def _lineage(parts: Parts, rows: Rows, request: FitRequest, origin: Origin) -> Lineage:
    tuning = {f"finetune_{name}": value for name, value in asdict(request.finetune).items()} if request.speed == "full" else {}
    return Lineage(
        parent=origin.parent,
        dataset=origin.dataset,
        snapshot=origin.snapshot,
        run=origin.run,
        speed=request.speed,
        seed=request.seed,
        settings={"features": request.features, "base": request.base, **tuning},
        libraries=_libraries(),
        rows={**rows.counts(), "corrected": len(rows.corrected), "doubted": parts.doubted},
        train_s=round(sum(parts.seconds.values()), 2),
    )


def _libraries() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def card(manifest: Manifest, options: Sequence[OptionReport]) -> str:
    """Return the model card as Markdown."""
    lineage = manifest.lineage
    lines = [
        "# Model card",
        "",
        f"Classifies text into {len(manifest.labels)} labels by {_words(manifest)}. "
        f"Made {manifest.created_at:%Y-%m-%d %H:%M} UTC at speed `{lineage.speed}`, parent {lineage.parent or 'none'}.",
        "",
        *_results(manifest, options),
        *_data(manifest),
        "## Limits",
        "",
        "Probabilities are calibrated on rows like the training data; elsewhere they are guesses.",
        "",
    ]
    return "\n".join(lines)


def _results(manifest: Manifest, options: Sequence[OptionReport]) -> list[str]:
    return [
        "## Results",
        "",
        f"On {manifest.lineage.rows.get('test', 0)} held-out rows that no version was trained on:",
        "",
        *(f"- {name}: {value:.4f}" for name, value in manifest.metrics.items() if not name.startswith("validation")),
        "",
        "On the validation part, which chose among these:",
        "",
        "| features | accuracy | log loss | fit, s | served |",
        "|---|---|---|---|---|",
        *(
            f"| {o.name} | {_percent(o.accuracy)} | {'' if o.log_loss is None else f'{o.log_loss:.3f}'} | {o.fit_s:.1f} "
            f"| {'yes' if o.chosen else ''} |"
            for o in options
        ),
        "",
    ]


def _data(manifest: Manifest) -> list[str]:
    """Return what it learned from, and what was done to the encoder for it."""
    lineage, encoder, parity = manifest.lineage, manifest.encoder, manifest.parity
    lines = [
        "## Data",
        "",
        f"Rows: {lineage.rows}. Base data set `{lineage.dataset[:12]}`, snapshot `{lineage.snapshot[:12]}`.",
        "",
    ]
    if encoder is not None and encoder.vocabulary is not None:
        words = encoder.vocabulary
        lines += [
            f"{words.unknown_ratio_before:.1%} of the training tokens were unknown to the base tokenizer; {words.added} pieces "
            f"were added and trained, which left {words.unknown_ratio_after:.1%}.",
            "",
        ]
    if parity is not None:
        lines += [
            f"The served engine gives the label of the unquantised one on {parity.label_agreement_ratio:.2%} of {parity.rows} "
            f"rows; accuracy {parity.accuracy_torch:.4f} before, {parity.accuracy_engine:.4f} served.",
            "",
        ]
    return lines


def _words(manifest: Manifest) -> str:
    encoder = manifest.encoder.base if manifest.encoder else ""
    return {"encoder": encoder, "ngrams": "n-grams", "both": f"{encoder} and n-grams"}[
        manifest.features
    ] + " under a linear head"


def _percent(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2%}"
