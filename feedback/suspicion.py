"""Which corrections to hold back from training, and why: every rule says its value, its limit and its reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from core.quality_bodies import Reason
from core.settings import Settings
from feedback.consensus import Consensus, Vote
from feedback.contrary import Contrary
from feedback.near_duplicates import near_duplicates

# Fewer judged votes say nothing certain of an annotator, whatever the interval.
_LEAST_JUDGED = 10
_DUPLICATE_CHARS = 40
# Two people who do not know of each other are enough to contradict a model.
_CORROBORATED_BY = 2


@dataclass(frozen=True)
class Evidence:
    """What a model said of a corrected text that it had not learned from; ``score`` is the probability of ``label``."""

    version: str
    label: str
    score: float


@dataclass(frozen=True)
class Limits:
    """Beyond these a correction is held back; the settings ``HONE_SUSPECT_…`` describe them."""

    model_score: float
    annotator_accuracy: float
    contrary_ratio: float
    consensus_probability: float
    burst_corrections: int
    burst_window_s: float
    resemblance: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the limits of these settings."""
        return cls(
            model_score=settings.suspect_model_score,
            annotator_accuracy=settings.suspect_annotator_accuracy,
            contrary_ratio=settings.suspect_contrary_ratio,
            consensus_probability=settings.suspect_consensus_probability,
            burst_corrections=settings.suspect_burst_corrections,
            burst_window_s=settings.suspect_burst_window_s,
            resemblance=settings.suspect_resemblance,
        )


Suspicions = Mapping[int, tuple[Reason, ...]]


def find_suspicions(
    votes: Sequence[Vote],
    evidence: Mapping[int, Evidence],
    known: Mapping[str, str],
    consensus: Consensus,
    contrary: Mapping[str, Contrary],
    limits: Limits,
) -> Suspicions:
    """Return the reasons against each suspicious vote, by its sequence number.

    Args:
        votes: the last word of each annotator on each text.
        evidence: what a model that had not learned from it said of a vote's text.
        known: labels of held-out texts by their keys.
        consensus: of all these votes and ``known``.
        contrary: annotators who contradict the model where others do not.
        limits: where suspicion begins.
    """
    found: dict[int, list[Reason]] = defaultdict(list)
    backing = _backing([vote for vote in votes if vote.annotator not in contrary], consensus, limits)
    rules = (
        _against_holdout(votes, known),
        _of_unreliable([vote for vote in votes if vote.annotator not in contrary], consensus, limits),
        _of_contrary(votes, contrary, limits),
        in_bursts(votes, limits),
        against_model(votes, evidence, backing, limits),
        _near_others(votes, backing, limits),
    )
    for rule in rules:
        for sequence, reason in rule:
            found[sequence].append(reason)
    left = [vote for vote in votes if vote.sequence not in found]
    for sequence, reason in _disputed(left, consensus, limits):
        found[sequence].append(reason)
    return {sequence: tuple(reasons) for sequence, reasons in found.items()}


def _backing(votes: Iterable[Vote], consensus: Consensus, limits: Limits) -> Mapping[tuple[str, str], int]:
    """Return how many annotators who can be relied on say this label of this text."""
    reliable = {item.annotator for item in consensus.reliabilities if not _is_unreliable(consensus, item.annotator, limits)}
    backing: dict[tuple[str, str], int] = defaultdict(int)
    for vote in votes:
        backing[vote.text_key, vote.label] += vote.annotator in reliable
    return backing


def _is_unreliable(consensus: Consensus, annotator: str, limits: Limits) -> bool:
    known = consensus.of(annotator)
    return known.judged >= _LEAST_JUDGED and known.high < limits.annotator_accuracy


def _against_holdout(votes: Iterable[Vote], known: Mapping[str, str]) -> Iterator[tuple[int, Reason]]:
    for vote in votes:
        if known.get(vote.text_key, vote.label) != vote.label:
            why = "the text is held out to measure by, and its label there is another one"
            yield vote.sequence, Reason(rule="contradicts_holdout", value=1.0, limit=0.0, why=why)


def _of_unreliable(votes: Iterable[Vote], consensus: Consensus, limits: Limits) -> Iterator[tuple[int, Reason]]:
    unreliable = {item.annotator: item for item in consensus.reliabilities if _is_unreliable(consensus, item.annotator, limits)}
    for vote in votes:
        item = unreliable.get(vote.annotator)
        if item is not None:
            why = f"of {item.judged} votes that others or the holdout can judge, about {item.accuracy:.0%} are right"
            yield (
                vote.sequence,
                Reason(rule="unreliable_annotator", value=round(item.high, 4), limit=limits.annotator_accuracy, why=why),
            )


def _of_contrary(votes: Iterable[Vote], contrary: Mapping[str, Contrary], limits: Limits) -> Iterator[tuple[int, Reason]]:
    for vote in votes:
        item = contrary.get(vote.annotator)
        if item is not None:
            why = (
                f"of {item.drawn} texts that chance drew for this annotator {item.against} were given another label than the "
                f"model's; where others were asked, at most {item.others_high:.0%}"
            )
            reason = Reason(rule="contrary_annotator", value=round(item.low, 4), limit=limits.contrary_ratio, why=why)
            yield vote.sequence, reason


class Cast(Protocol):
    """When somebody said something."""

    @property
    def sequence(self) -> int: ...

    @property
    def annotator(self) -> str: ...

    @property
    def created_at(self) -> datetime: ...


def in_bursts(votes: Iterable[Cast], limits: Limits) -> Iterator[tuple[int, Reason]]:
    """Yield the votes of annotators who said more within the window than is allowed, and why."""
    if not limits.burst_corrections:
        return
    of: dict[str, list[Cast]] = defaultdict(list)
    for vote in sorted(votes, key=lambda vote: (vote.created_at, vote.sequence)):
        of[vote.annotator].append(vote)
    window = timedelta(seconds=limits.burst_window_s)
    for own in of.values():
        start, marked = 0, 0
        for end, vote in enumerate(own):
            while own[start].created_at < vote.created_at - window:
                start += 1
            size = end - start + 1
            if size <= limits.burst_corrections:
                continue
            # All of a burst is suspicious, not only what came after the limit was reached.
            for place in range(max(start, marked), end + 1):
                why = f"more than {limits.burst_corrections} came from one annotator within {limits.burst_window_s:g} s"
                yield own[place].sequence, Reason(rule="burst", value=size, limit=limits.burst_corrections, why=why)
            marked = end + 1


def against_model(
    votes: Iterable[Vote], evidence: Mapping[int, Evidence], backing: Mapping[tuple[str, str], int], limits: Limits
) -> Iterator[tuple[int, Reason]]:
    """Yield the votes that a model is sure are wrong, and why; ``backing`` counts who else says so, by text key and label."""
    if limits.model_score >= 1.0:
        return
    for vote in votes:
        said = evidence.get(vote.sequence)
        if said is None or said.label == vote.label or said.score < limits.model_score:
            continue
        if backing[vote.text_key, vote.label] >= _CORROBORATED_BY:
            continue
        why = f"{said.version}, which had not learned it, is {said.score:.1%} sure of another label, and nobody else agrees"
        yield vote.sequence, Reason(rule="contradicts_model", value=round(said.score, 4), limit=limits.model_score, why=why)


def _near_others(votes: Sequence[Vote], backing: Mapping[tuple[str, str], int], limits: Limits) -> Iterator[tuple[int, Reason]]:
    texts = list({vote.text_key: vote.text for vote in votes}.items())
    of_text: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        of_text[vote.text_key].append(vote)
    seen: set[int] = set()
    pairs = near_duplicates([text for _, text in texts], resemblance=limits.resemblance, min_chars=_DUPLICATE_CHARS)
    for a, b in pairs:
        for vote in of_text[texts[a][0]]:
            for other in of_text[texts[b][0]]:
                if vote.label == other.label:
                    continue
                gap = backing[vote.text_key, vote.label] - backing[other.text_key, other.label]
                # The side with fewer people behind it; both, where they are as many.
                weaker = [vote] * (gap <= 0) + [other] * (gap >= 0)
                for suspect in weaker:
                    if suspect.sequence not in seen:
                        seen.add(suspect.sequence)
                        why = "a text that is all but the same was given another label by as many people or more"
                        yield suspect.sequence, Reason(rule="near_duplicate", value=1.0, limit=limits.resemblance, why=why)


def _disputed(votes: Sequence[Vote], consensus: Consensus, limits: Limits) -> Iterator[tuple[int, Reason]]:
    """Yield the votes on texts of which those that are left do not say enough together."""
    # What is suspicious for another reason has no say in what a text's label is.
    settled = consensus.decide(votes)
    for vote in votes:
        decision = settled[vote.text_key]
        if decision.voters > 1 and decision.probability < limits.consensus_probability:
            why = f"{decision.voters} annotators differ; the likeliest label has a probability of {decision.probability:.2f}"
            yield (
                vote.sequence,
                Reason(rule="disputed", value=round(decision.probability, 4), limit=limits.consensus_probability, why=why),
            )
