"""The model card of a version: what it is for, what it learned, how good it is on what and where not, who answers for it.

After Mitchell et al., "Model Cards for Model Reporting" (2019, arXiv 1810.03993). All of it is read from the bundle, the gate's
decision and the history; nothing is asked of the model.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from core.approvals import Approvals
from core.bundle import EncoderSpec, Lineage, Manifest, Nearness, NgramSpec, Parity
from core.finetuning import recorded
from core.gate import ClassChange, GateDecision
from core.gate_statistics import wilson
from core.moves import Standing
from core.registry import Registry
from core.schemas import Wire
from core.settings import Settings
from serve.answers import Signature

_WEAKEST = 5
_FEW_ROWS = 30
_SECONDS_PER_HOUR = 3_600.0


class CardShare(Wire):
    """How much of some rows of the holdout is answered rightly, with Wilson's 95% interval."""

    name: str
    rows: int
    accuracy: float
    low: float
    high: float
    before: float | None = Field(description="Accuracy of the champion it was compared with, on the same rows.")


class CardCost(Wire):
    """What making the version took. Energy and carbon are null unless the settings say what a second costs."""

    train_s: float
    energy_kwh: float | None = Field(description="`HONE_CARD_WATTS` over that time.")
    carbon_g: float | None = Field(description="Of CO2 equivalents: the energy times `HONE_CARD_GRAMS_PER_KWH`.")


class CardApproval(Wire):
    """Who let it serve."""

    gate: str | None = Field(description="What the gate said; null where it was not asked.")
    promote: bool | None
    compared_with: str | None
    standing: Standing | None
    signatures: list[Signature]


class ModelCard(Wire):
    """Answer of ``GET /v1/models/{version}/card``."""

    version: str
    aliases: list[str]
    made_at: datetime
    intended_use: str = Field(description="`HONE_CARD_INTENDED_USE`, or what holds of every version.")
    labels: list[str]
    model: str = Field(description="What it is, in a sentence.")
    encoder: EncoderSpec | None
    ngrams: NgramSpec | None
    lineage: Lineage
    metrics: dict[str, float] = Field(description="On rows of the test split, unless the name says `validation`.")
    accuracy: CardShare | None = Field(description="On all rows of the holdout.")
    parity: Parity | None
    nearness: Nearness | None
    weakest: list[CardShare] = Field(description="The labels with the least recall, as far as the gate saw them.")
    slices: list[CardShare] = Field(description="Parts of the holdout, the worst first.")
    limits: list[str]
    cost: CardCost
    approval: CardApproval


def card_of(registry: Registry, name: str, settings: Settings) -> ModelCard:
    """Return the card of a version or alias.

    Raises:
        UnknownVersion, BundleError: there is none, or its manifest or decision cannot be read.
    """
    version = registry.resolve(name)
    manifest, decision = registry.manifest(version), registry.decision(version)
    aliases = registry.aliases().model_dump()
    weakest = sorted((_share(found) for found in decision.classes if found.rows), key=_accuracy) if decision else []
    slices = sorted((_share(found) for found in decision.slices if found.rows), key=_accuracy) if decision else []
    return ModelCard(
        version=version,
        aliases=[alias for alias, named in aliases.items() if named == version],
        made_at=manifest.created_at,
        intended_use=settings.card_intended_use or _usual_use(manifest),
        labels=manifest.labels,
        model=_sentence(manifest),
        encoder=manifest.encoder,
        ngrams=manifest.ngrams,
        lineage=manifest.lineage,
        metrics=manifest.metrics,
        accuracy=_overall(manifest, decision),
        parity=manifest.parity,
        nearness=manifest.nearness,
        weakest=weakest[:_WEAKEST],
        slices=slices,
        limits=_limits(manifest, weakest),
        cost=_cost(manifest, settings),
        approval=CardApproval(
            gate=decision.summary if decision else None,
            promote=decision.promote if decision else None,
            compared_with=decision.champion if decision else None,
            standing=registry.standing(version),
            signatures=[Signature.of(move) for move in Approvals(registry).signatures(version)],
        ),
    )


def _accuracy(found: CardShare) -> float:
    return found.accuracy


def _share(found: ClassChange) -> CardShare:
    low, high = wilson(found.candidate_right, found.rows)
    right, before = found.candidate_right / found.rows, found.champion_right / found.rows
    return CardShare(name=found.name, rows=found.rows, accuracy=right, low=low, high=high, before=before)


def _overall(manifest: Manifest, decision: GateDecision | None) -> CardShare | None:
    if decision is not None and decision.holdout is not None and decision.holdout.rows:
        return _share(decision.holdout)
    rows, accuracy = manifest.lineage.rows.get("test", 0), manifest.metrics.get("accuracy")
    if not rows or accuracy is None:
        return None
    low, high = wilson(round(accuracy * rows), rows)
    return CardShare(name="holdout", rows=rows, accuracy=accuracy, low=low, high=high, before=None)


def _usual_use(manifest: Manifest) -> str:
    return (
        f"Sorting texts like those it learned from into {len(manifest.labels)} labels, with people who correct it. Not for "
        "decisions about persons without a person in between, and not for texts of another kind or language."
    )


def _sentence(manifest: Manifest) -> str:
    encoder = manifest.encoder.base if manifest.encoder else ""
    features = {"encoder": encoder, "ngrams": "n-grams", "both": f"{encoder} and n-grams"}[manifest.features]
    smaller = manifest.lineage.settings.get("compression")
    made = f", made smaller by {smaller}" if smaller else ""
    tuned = recorded(manifest.lineage.settings)
    how = f", its encoder trained with the settings {tuned}" if tuned else ""
    origin = f"; {manifest.lineage.made_of}" if manifest.lineage.made_of else ""
    return f"A linear head over {features}{made}, fitted at speed {manifest.lineage.speed}{how}{origin}."


def _limits(manifest: Manifest, weakest: list[CardShare]) -> list[str]:
    limits = ["Probabilities are calibrated on rows like the training data; elsewhere they are guesses."]
    if manifest.encoder is not None:
        limits.append(f"The encoder reads {manifest.encoder.max_tokens} tokens; of longer texts it sees the beginning.")
    vocabulary = manifest.encoder.vocabulary if manifest.encoder else None
    if vocabulary is not None:
        limits.append(f"{vocabulary.unknown_ratio_after:.1%} of the training tokens are unknown to its tokenizer.")
    few = [found.name for found in weakest if found.rows < _FEW_ROWS]
    if few:
        limits.append(f"{len(few)} labels have fewer than {_FEW_ROWS} rows in the holdout, so little is known of them.")
    if not manifest.lineage.rows.get("test"):
        limits.append("No rows were held out: nothing is known of how good it is.")
    return limits


def _cost(manifest: Manifest, settings: Settings) -> CardCost:
    seconds = manifest.lineage.train_s
    energy = settings.card_watts * seconds / _SECONDS_PER_HOUR / 1_000.0 if settings.card_watts else None
    carbon = energy * settings.card_grams_per_kwh if energy is not None and settings.card_grams_per_kwh else None
    return CardCost(train_s=seconds, energy_kwh=energy, carbon_g=carbon)


def markdown_of(card: ModelCard) -> str:
    """Return the card as Markdown."""
    lineage, cost, approval = card.lineage, card.cost, card.approval
    rows = ", ".join(f"{count} {split}" for split, count in lineage.rows.items())
    spent = f"{cost.train_s:.1f} s"
    spent += "" if cost.energy_kwh is None else f", {cost.energy_kwh:.4g} kWh"
    spent += "" if cost.carbon_g is None else f", {cost.carbon_g:.3g} g CO2 equivalents"
    lines = [
        f"# Model card: {card.version}",
        "",
        f"{_plain(card.model)} {len(card.labels)} labels. Made {card.made_at:%Y-%m-%d %H:%M} UTC, parent "
        f"{lineage.parent or 'none'}.",
        "",
        *_section("Intended use", [_plain(card.intended_use)]),
        *_section(
            "Data",
            [
                f"Rows: {rows}.",
                "",
                f"Base data `{lineage.dataset[:12]}`, snapshot `{lineage.snapshot[:12]}`, seed {lineage.seed}.",
            ],
        ),
        *_section("Results", _results(card)),
        *_section("Slices", _table(card.slices) if card.slices else ["None were compared."]),
        *_section("Labels with the least recall", _table(card.weakest) if card.weakest else ["Not compared."]),
        *_section("Limits", [f"- {_plain(limit)}" for limit in card.limits]),
        *_section("Time and carbon", [f"Training took {spent}."]),
        *_section("Approval", _approval(approval)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""]


def _results(card: ModelCard) -> list[str]:
    lines = []
    if card.accuracy is not None:
        found = card.accuracy
        before = "" if found.before is None else f"; {found.before:.2%} of {card.approval.compared_with} on the same rows"
        lines += [f"{found.accuracy:.2%} of {found.rows} held-out rows right [{found.low:.2%}, {found.high:.2%}]{before}.", ""]
    lines += [f"- {name}: {value:.4f}" for name, value in card.metrics.items()]
    if card.parity is not None:
        served = card.parity
        lines += [
            "",
            f"The served engine gives the label of torch on {served.label_agreement_ratio:.2%} of {served.rows} rows.",
        ]
    return lines


def _table(shares: list[CardShare]) -> list[str]:
    rows = [
        f"| {_plain(found.name)} | {found.rows} | {found.accuracy:.1%} [{found.low:.1%}, {found.high:.1%}] | "
        f"{'–' if found.before is None else f'{found.before:.1%}'} |"
        for found in shares
    ]
    return ["| | rows | right | before |", "|---|---|---|---|", *rows]


def _approval(approval: CardApproval) -> list[str]:
    lines = [f"Gate: {approval.gate or 'not asked'}. Standing: {approval.standing or 'nobody had to sign'}."]
    lines += [
        f"- {signature.at:%Y-%m-%d %H:%M} UTC, {_plain(signature.by)}: {signature.action}, {_plain(signature.reason)}"
        for signature in approval.signatures
    ]
    return lines


def _plain(text: str) -> str:
    """Return text on one line in which nothing is markup: labels and reasons are other people's words."""
    kept = "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!" else sign for sign in text)
    return " ".join(kept.split())
