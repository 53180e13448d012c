"""Writing the parts of a fit as one sealed bundle, with its model card."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from core.bundle import (
    CARD,
    HEAD,
    NGRAMS,
    TUNED,
    EncoderSpec,
    Features,
    Lineage,
    Manifest,
    Nearness,
    NgramSpec,
    Probe,
    seal,
)
from core.classifier import Classifier, Head
from core.drift.profile import PROFILE
from core.finetuning import recorded
from core.ngrams import Ngrams
from core.schemas import now
from core.text import TextSettings
from train.encode import VARIANTS, ExportedEncoder
from train.head import REGULARISATION
from train.held import HELD
from train.label_shift import LabelShift
from train.measuring import Measured
from train.nearness import TARGET_RATIO
from train.rows import Rows
from train.select import OptionReport

if TYPE_CHECKING:
    from train.request import FitRequest

_LIBRARIES = ("torch", "transformers", "onnxruntime-gpu", "onnxruntime", "tokenizers", "numpy", "scipy", "scikit-learn", "hone")

_SHIFTED_LABELS = 10

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
    measured: Measured
    seconds: dict[str, float]
    doubted: int
    # The head that was trained together with the encoder, before n-grams were added; see TUNED.
    tuned: Head | None = None
    # Inverse strength of the penalty the linear head was fitted with, for the next head over the same features.
    regularisation: float = REGULARISATION
    shift: LabelShift = field(default_factory=LabelShift)


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
    if parts.measured.profile is not None:
        parts.measured.profile.save(folder / PROFILE)
    if parts.measured.held is not None:
        parts.measured.held.save(folder / HELD)
    parts.shift.save(folder)
    if parts.tuned is not None:
        parts.tuned.save(folder / TUNED)
    manifest = Manifest(
        created_at=now(),
        labels=list(rows.names),
        text=TextSettings.model_validate({}),
        features=parts.features,
        encoder=_encoder_spec(parts),
        ngrams=_ngram_spec(parts, rows),
        temperature=parts.temperature,
        metrics={name: round(value, 6) for name, value in parts.measured.metrics.items()},
        parity=parts.measured.parity,
        nearness=parts.measured.nearness,
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
    (folder / CARD).write_text(card(complete, options, parts.shift), encoding="utf-8")
    return seal(folder, complete, known=sealed.files)


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
        serving=parts.measured.serving,
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
        settings={
            "features": request.features,
            "base": request.base,
            "regularisation": parts.regularisation,
            **tuning,
            **({"compression": request.compression} if request.compression else {}),
            **_ensemble(request),
            **({"workers": request.workers} if request.workers > 1 else {}),
        },
        libraries=_libraries(),
        rows={**rows.counts(), "corrected": len(rows.corrected), "doubted": parts.doubted},
        train_s=round(sum(parts.seconds.values()), 2),
    )


def _ensemble(request: FitRequest) -> dict[str, str | float]:
    made = request.ensemble
    if made is None:
        return {}
    found: dict[str, str | float] = {"ensemble": made.how, "members": " ".join(made.members)}
    if made.how == "distill":
        found |= {"distill_weight": made.weight, "distill_temperature": made.temperature}
    return found


def _libraries() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def card(manifest: Manifest, options: Sequence[OptionReport], shift: LabelShift | None = None) -> str:
    """Return the model card as Markdown."""
    lineage = manifest.lineage
    lines = [
        "# Model card",
        "",
        f"Classifies text into {len(manifest.labels)} labels by {_words(manifest)}. "
        f"Made {manifest.created_at:%Y-%m-%d %H:%M} UTC at speed `{lineage.speed}`, parent {lineage.parent or 'none'}"
        f"{f'; {lineage.made_of}' if lineage.made_of else ''}.",
        "",
        *_training(manifest),
        *_results(manifest, options),
        *_data(manifest),
        *_shifted(shift or LabelShift()),
        *_memory(manifest),
        "## Limits",
        "",
        "Probabilities are calibrated on rows like the training data; elsewhere they are guesses.",
        "",
    ]
    return "\n".join(lines)


def _training(manifest: Manifest) -> list[str]:
    """Return how the encoder was trained, as the command line takes it."""
    settings = recorded(manifest.lineage.settings)
    if settings is None:
        return []
    told = f"The encoder was trained with `{settings}` (preset and what differs from it), seed {settings.seed}."
    return ["## Training", "", told, ""]


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


def _shifted(shift: LabelShift) -> list[str]:
    """Return which labels traffic has more of, and less, than what was taught."""
    if not shift.offsets:
        return []
    by_size = sorted(shift.offsets.items(), key=lambda item: (-abs(item[1]), item[0]))[:_SHIFTED_LABELS]
    return [
        "## Mix of labels",
        "",
        "Texts that chance drew from traffic have another mix of labels than what was taught. Answers follow it; the results "
        "on held-out rows above, which are of the old mix, do not. The labels that this moves most, and what it multiplies "
        "their odds by:",
        "",
        *(f"- {name}: × {math.exp(offset):.2f}" for name, offset in by_size),
        "",
    ]


def _memory(manifest: Manifest) -> list[str]:
    """Return how the memory may go by nearness, and whether that held on rows that did not decide it."""
    found = manifest.nearness
    if found is None:
        return []
    if found.similarity is None:
        told = (
            "A corrected text is answered from memory, texts near to it are not: no similarity was seen at which at least "
            f"{TARGET_RATIO:.0%} of what is answered is right, on the {found.rows} validation rows."
        )
        return ["## Memory", "", told, ""]
    told = (
        f"A text as near to a corrected one as {found.similarity:.2f} (cosine) is given its label. On the validation part "
        f"{found.right} of {found.answered} such answers were right, with a confidence of 95% more than {found.right_low:.2%}; "
        f"from the rows that were predicted wrong, {found.wrong_right} of {found.wrong_answered}."
    )
    return ["## Memory", "", told, "", _memory_test(found), ""]


def _memory_test(found: Nearness) -> str:
    if not found.test_answered:
        return "On the test part nothing was near enough."
    share = found.test_right / found.test_answered
    short = "" if share >= TARGET_RATIO else f": less than the {TARGET_RATIO:.0%} it was chosen for"
    return f"On the test part it answered {found.test_answered} of {found.test_rows} rows, {share:.2%} of them rightly{short}."


def _words(manifest: Manifest) -> str:
    encoder = manifest.encoder.base if manifest.encoder else ""
    return {"encoder": encoder, "ngrams": "n-grams", "both": f"{encoder} and n-grams"}[
        manifest.features
    ] + " under a linear head"


def _percent(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2%}"
