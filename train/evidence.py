"""Gathering what ``speed=auto`` decides by: how a fitted head does on what it has not seen, and what earlier runs brought."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from core.bundle import read_manifest
from core.errors import BundleError, UnknownVersion
from core.registry import Registry
from core.schemas import RunAnswer
from core.settings import Settings
from feedback.snapshot import Example, Snapshot
from train.ancestry import encoder_version, texts_of_encoder
from train.candidates import WORTH_RATIO
from train.choosing import ChoiceLimits, Evidence, Labelled
from train.crossfit import OutOfFold

# Fine-tuned on 2 cores (docs/results.md: 10,003 rows, 3 epochs, 14 minutes); what a run here took replaces it.
_FULL_S_PER_ROW = 0.084


@dataclass(frozen=True)
class Circumstances:
    """Where a run stands when the head has been fitted.

    ``runs`` are the earlier ones, newest first; ``audited`` the keys of texts that chance chose and people judged.
    """

    settings: Settings
    registry: Registry
    champion: str
    snapshot: Snapshot
    runs: Sequence[RunAnswer]
    audited: Set[str] = frozenset()
    drift: bool = False
    budget_left_s: float | None = None


def gather(at: Circumstances, head: Path) -> Evidence:
    """Return what is known of the head in the folder ``head``.

    A text that people labelled tells of the head where the fit says what it would have answered had it not learned from it (see
    :mod:`train.crossfit`), unless its encoder was trained on it. Of traffic in general those tell that chance chose. Where
    nothing was audited, held-out texts have to do; but where people only ever corrected, and never confirmed, such texts are
    all mistakes and tell nothing, so they are left out.
    """
    manifest = read_manifest(head)
    encoder = encoder_version(at.registry, at.champion)
    new_labels = set(manifest.labels) - set(encoder.labels)
    out_of_fold = OutOfFold.load(at.settings.home.cache, head)
    said = [example for example in at.snapshot.examples if example.origin != "base"]
    by_heart = texts_of_encoder(encoder, at.settings)
    known = [example for example in said if example.text_key in out_of_fold and example.text_key not in by_heart]
    wrong = {example: out_of_fold.answer(example.text_key) != example.label for example in known}
    of_new = [example for example in known if example.label in new_labels]
    recent = _of_traffic(known, at)
    fulls = [run for run in at.runs if "full_s" in run.metrics]
    refused = _refused(fulls)
    unproven = sum(_gained(run) and _only_unproven(run, at.registry) for run in refused)
    # As many as the encoder would see; a head has learned those of the test split too.
    corrected = sum(example.origin == "correction" and example.split != "test" for example in said)
    seen = max(encoder.lineage.rows.get("corrected", 0), int(fulls[0].metrics.get("corrected_rows", 0)) if fulls else 0)
    return Evidence(
        usual_error_ratio=1.0 - at.registry.manifest(at.champion).metrics.get("accuracy", 1.0),
        recent=Labelled(len(recent), sum(wrong[example] for example in recent)),
        of_new_labels=Labelled(len(of_new), sum(wrong[example] for example in of_new)),
        labels=len(manifest.labels),
        new_labels=len(new_labels),
        new_examples=max(0, corrected - seen),
        drift=at.drift,
        # With n-grams alone nothing is known of how the encoder does, but that the fit did without.
        untrained=encoder.lineage.speed == "head" and manifest.features != "ngrams",
        fulls_in_vain=len(refused) - unproven,
        fulls_unproven=unproven,
        recovered_ratio=_recovered(fulls),
        expected_full_s=_full_s(fulls, manifest.lineage.rows.get("train", 0)),
        budget_left_s=at.budget_left_s,
    )


def _of_traffic(known: Sequence[Example], at: Circumstances) -> list[Example]:
    """Return those of the texts that speak for traffic in general."""
    drawn = [example for example in known if example.text_key in at.audited]
    if drawn:
        return drawn
    confirmed = any(example.origin == "confirmation" for example in at.snapshot.examples)
    return [example for example in known if confirmed and example.split == "test"]


def _refused(fulls: Sequence[RunAnswer]) -> list[RunAnswer]:
    """Return those of the latest runs that trained the encoder, one after the other, which changed nothing by it."""
    found = []
    for run in fulls:
        if run.promoted is not False and run.chosen == "full" and _gained(run):
            break
        found.append(run)
    return found


def _gained(run: RunAnswer) -> bool:
    return run.metrics.get("full_gain", WORTH_RATIO) >= WORTH_RATIO


def _only_unproven(run: RunAnswer, registry: Registry) -> bool:
    """Return whether the encoder that the run trained passed all rules that the gate requires, and lacked evidence alone."""
    if run.chosen != "full" or run.version is None:
        return False
    try:
        decision = registry.decision(run.version)
    except (BundleError, UnknownVersion):
        # It was removed by hand.
        return False
    return decision is not None and all(rule.passed for rule in decision.rules if rule.kind == "required")


def _recovered(fulls: Sequence[RunAnswer]) -> float | None:
    """Return the share of a gap that training the encoder has closed here, the first guess counting as one such run."""
    shares = [
        min(1.0, max(0.0, run.metrics["full_gain"]) / run.metrics["gap"])
        for run in fulls
        if "full_gain" in run.metrics and run.metrics.get("gap", 0.0) > 0.0
    ]
    return (ChoiceLimits().recovered_ratio + sum(shares)) / (1 + len(shares)) if shares else None


def _full_s(fulls: Sequence[RunAnswer], rows: int) -> float:
    for run in fulls:
        if run.metrics.get("train_rows"):
            return rows * run.metrics["full_s"] / run.metrics["train_rows"]
    return rows * _FULL_S_PER_ROW
