"""From votes to what training may learn: suspicion first, then one label per text from what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from core.schemas import CorrectionKind
from feedback.consensus import MODEL, Consensus, Vote, find_consensus
from feedback.contrary import contrary_annotators
from feedback.corrections import TrainingCorrection
from feedback.suspicion import Evidence, Limits, Suspicions, find_suspicions


@dataclass(frozen=True)
class Standing:
    """What people decided about corrections by hand, by sequence number: it outweighs every rule."""

    released: Set[int] = frozenset()
    upheld: Set[int] = frozenset()


@dataclass(frozen=True)
class Trusted:
    """The outcome: what to learn, why the rest is held back, and how far each annotator is to be relied on."""

    corrections: tuple[TrainingCorrection, ...]
    suspicions: Suspicions
    consensus: Consensus


def trust(
    votes: Sequence[Vote],
    known: Mapping[str, str],
    evidence: Mapping[int, Evidence],
    limits: Limits,
    standing: Standing = Standing(),
) -> Trusted:
    """Return what training may learn of ``votes``.

    Args:
        votes: the last word of each annotator on each text.
        known: labels of held-out texts by their keys.
        evidence: what a model that had not learned from it said of a vote's text, by sequence number.
        limits: where suspicion begins.
        standing: what people decided; a released vote is learned from, an upheld suspicion stands.
    """
    contrary = contrary_annotators(votes, evidence, limits.contrary_ratio)
    heard = [vote for vote in votes if vote.annotator not in contrary]
    consensus = find_consensus([*votes, *_casting_votes(heard, evidence, limits)], known, contrary)
    believed = [vote for vote in votes if vote.sequence not in standing.upheld]
    found = find_suspicions(believed, evidence, known, consensus, contrary, limits)
    suspicions = {sequence: reasons for sequence, reasons in found.items() if sequence not in standing.released}
    left = [vote for vote in believed if vote.sequence not in suspicions]
    decisions = consensus.decide(left)
    supporters: dict[str, list[Vote]] = {}
    for vote in left:
        if decisions[vote.text_key].label == vote.label:
            supporters.setdefault(vote.text_key, []).append(vote)
    corrections = sorted((_merged(group) for group in supporters.values()), key=lambda correction: correction.sequence)
    return Trusted(tuple(corrections), suspicions, consensus)


def _casting_votes(votes: Sequence[Vote], evidence: Mapping[int, Evidence], limits: Limits) -> list[Vote]:
    """Return a vote of the model on each text of which annotators differ and it is sure: it tells who of them is right.

    Without it one who speaks of more texts than all others together would decide who is reliable. Where nobody differs it has
    no vote, since whoever corrects a model differs from it.
    """
    groups: dict[str, list[Vote]] = {}
    for vote in votes:
        groups.setdefault(vote.text_key, []).append(vote)
    found = []
    for group in groups.values():
        said = next((evidence[vote.sequence] for vote in group if vote.sequence in evidence), None)
        if said is not None and said.score >= limits.model_score and len({vote.label for vote in group}) > 1:
            found.append(replace(group[0], label=said.label, annotator=MODEL))
    return found


def _merged(group: Sequence[Vote]) -> TrainingCorrection:
    """Return one correction for all who say the same of a text: the newest, and a correction rather than a confirmation."""
    newest = max(group, key=lambda vote: vote.sequence)
    kind: CorrectionKind = "correction" if any(vote.corrects for vote in group) else "confirmation"
    return TrainingCorrection(
        sequence=newest.sequence,
        text=newest.text,
        text_key=newest.text_key,
        label=newest.label,
        kind=kind,
        annotator=newest.annotator or None,
        model_version=newest.model_version,
        predicted_label=newest.predicted_label,
        supported_by=tuple(sorted(vote.sequence for vote in group)),
        drawn=any(vote.drawn for vote in group),
    )
