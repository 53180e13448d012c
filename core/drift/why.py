"""What moved most between the reference and a window: classes, words, slices and examples."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

from core.drift.profile import MIN_WORD_TEXTS, Reference
from core.drift.samples import UNSURE, language_of, shares
from core.drift_bodies import DriftExample, Moved
from core.ngrams import words_of

_MOST = 20
# What fewer of a window's predictions carry is a caller's own matter, perhaps a person's name.
_MIN_SLICE_RATIO = 0.04
_LENGTHS = (5, 10, 20, 40, 80, 160)
# What a share of nothing counts as: half a row.
_HALF = 0.5


@dataclass(frozen=True)
class Answer:
    """An answered text of a window, cleaned; empty where none is kept."""

    prediction_id: str
    text: str
    label: str
    confidence: float
    metadata: Mapping[str, Any] | None = None


def moved_classes(reference: Reference, answers: Sequence[Answer]) -> list[Moved]:
    """Return labels by what they add to the divergence of the shares of labels, the most first."""
    return _moved(shares(reference.sample.labels), len(reference.sample), [({answer.label}, answer) for answer in answers])


def moved_words(reference: Reference, answers: Sequence[Answer]) -> list[Moved]:
    """Return words by what they add to the divergence of the shares of texts that have them.

    Only those that :data:`~core.drift.profile.MIN_WORD_TEXTS` different texts of reference or window have.
    """
    texts = {answer.text: (set(words_of(answer.text)), answer) for answer in answers if answer.text}
    counts = Counter(word for words, _ in texts.values() for word in words)
    common = {word for word, count in counts.items() if count >= MIN_WORD_TEXTS}
    return _moved(reference.words, len(reference.sample), [(words & common, answer) for words, answer in texts.values()])


def moved_slices(reference: Reference, answers: Sequence[Answer]) -> list[Moved]:
    """Return languages and lengths by what they add to the divergence, then metadata, which the reference does not know."""
    read = [answer for answer in answers if answer.text]
    known: list[Moved] = []
    if reference.sample.texts is not None and read:
        languages = [({f"language {language_of(answer.text)}"}, answer) for answer in read]
        lengths = [({_length(len(words_of(answer.text)))}, answer) for answer in read]
        before, rows = reference.sample.texts, len(reference.sample)
        known += _moved(shares([f"language {language}" for language in before.languages]), rows, languages)
        known += _moved(shares([_length(int(length)) for length in before.lengths]), rows, lengths)
    known.sort(key=lambda item: -item.impact)
    return (known + _metadata_slices(answers))[: 2 * _MOST]


def examples_of(reference: Reference, answers: Sequence[Answer]) -> list[DriftExample]:
    """Return the window's texts that are least like the reference: whose words, language and label are rarest in it."""
    rows = len(reference.sample)
    labels = shares(reference.sample.labels)
    texts = reference.sample.texts
    languages = shares(texts.languages) if texts is not None else {}
    found = {}
    for answer in answers:
        if not answer.text:
            continue
        words = sorted(set(words_of(answer.text)))
        rarity = sum(_bits(reference.words.get(word), rows) for word in words)
        if languages and (language := language_of(answer.text)) != UNSURE:
            rarity += _bits(languages.get(language), rows)
        rarity += _bits(labels.get(answer.label), rows)
        found[answer.text] = DriftExample(
            prediction_id=answer.prediction_id,
            text=answer.text,
            label=answer.label,
            confidence=answer.confidence,
            unlikeness=rarity / (len(words) + 2),
        )
    return sorted(found.values(), key=lambda item: -item.unlikeness)[:_MOST]


def _moved(reference: Mapping[str, float], rows: int, carriers: Sequence[tuple[Iterable[str], Answer]]) -> list[Moved]:
    """Return names by ``|(q - p) log2(q / p)|`` of their shares, the most first; ``carriers`` say which answers have which."""
    if not carriers:
        return []
    confidences: dict[str, list[float]] = defaultdict(list)
    for names, answer in carriers:
        for name in names:
            confidences[name].append(answer.confidence)
    total = len(carriers)
    found = []
    for name in {*reference, *confidences}:
        p, has = reference.get(name, 0.0), confidences.get(name, [])
        q = len(has) / total
        # Half a row more on either side, or what one of them lacks would be infinitely far.
        ratio = (q * total + _HALF) / (total + 1) / ((p * rows + _HALF) / (rows + 1))
        mean = sum(has) / len(has) if has else None
        found.append(Moved(name=name, reference_ratio=p, window_ratio=q, impact=abs((q - p) * log2(ratio)), confidence=mean))
    return sorted(found, key=lambda item: (-item.impact, item.name))[:_MOST]


def _metadata_slices(answers: Sequence[Answer]) -> list[Moved]:
    """Return metadata by how far confidence lies below the window's mean, weighted by share; the reference has none."""
    carried: dict[str, list[float]] = defaultdict(list)
    for answer in answers:
        for name, value in (answer.metadata or {}).items():
            if isinstance(value, str | int | bool):
                carried[f"{name} = {value}"].append(answer.confidence)
    if not answers:
        return []
    overall = sum(answer.confidence for answer in answers) / len(answers)
    found = []
    for name, values in carried.items():
        share, mean = len(values) / len(answers), sum(values) / len(values)
        if share >= _MIN_SLICE_RATIO and len(values) >= MIN_WORD_TEXTS:
            impact = share * max(0.0, overall - mean)
            found.append(Moved(name=name, reference_ratio=None, window_ratio=share, impact=impact, confidence=mean))
    return sorted(found, key=lambda item: (-item.impact, item.name))[:_MOST]


def _length(words: int) -> str:
    below = next((limit for limit in _LENGTHS if words < limit), None)
    return f"fewer than {below} words" if below is not None else f"{_LENGTHS[-1]} words or more"


def _bits(share: float | None, rows: int) -> float:
    return -log2(((share or 0.0) * rows + _HALF) / (rows + 1))
