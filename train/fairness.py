"""Whether a model treats parts of its texts alike: each slice beside all other rows, and texts in which terms were swapped."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from core.errors import DataError
from core.text import normalise
from train.uncertainty import Interval, difference, share

IntVector = NDArray[np.int64]
FloatMatrix = NDArray[np.float32]
Terms = Mapping[str, Sequence[str]]

_TERMS: TypeAdapter[dict[str, list[str]]] = TypeAdapter(dict[str, list[str]])
_MOST_SWAPPED = 2_000
_SHOWN = 10
_MOST_CHARS = 160


class SliceReport(BaseModel):
    """One part of the rows beside all others. Gaps are this part's value less that of the others."""

    name: str
    rows: int
    accuracy: Interval
    accuracy_gap: Interval
    p_value: float = Field(description="That the gap is chance: Fisher's exact test.")
    holds: bool = Field(description="The gap is no chance after Holm's correction for all slices, at 5%.")
    widest_answer: str | None = Field(description="Label whose share of answers differs most from that among the others.")
    widest_answer_gap: Interval | None
    widest_recall: str | None = Field(
        description="Label whose recall differs most, of those with 5 rows or more on both sides."
    )
    widest_recall_gap: Interval | None


class Swap(BaseModel):
    """One text that was answered differently once a term was swapped."""

    text: str
    swapped: str
    label: str
    swapped_label: str


class SwapReport(BaseModel):
    """Texts with a term of one group, in which a term of another was put in its place."""

    group: str
    into: str
    texts: int
    changed: Interval | None = Field(description="Share that got another label.")
    mean_shift: float = Field(
        description="Mean distance between the probabilities before and after: half the sum of differences."
    )
    shown: list[Swap]


def read_terms(path: Path) -> dict[str, list[str]]:
    """Return groups of terms from JSON: ``{"female": ["she", "woman"], "male": ["he", "man"]}``.

    The n-th terms of two groups take each other's place in swaps.

    Raises:
        DataError: the file is absent, or holds something else.
    """
    try:
        groups = _TERMS.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(f'{path.name} is no JSON object of groups of terms, such as {{"a": ["she"], "b": ["he"]}}') from error
    if not groups or not all(all(term.strip() for term in terms) and terms for terms in groups.values()):
        raise DataError(f"{path.name} has a group without terms, or an empty term")
    return groups


def term_slices(texts: Sequence[str], terms: Terms) -> dict[str, IntVector]:
    """Return the places of texts that have a term of each group, as whole words in either case."""
    folded = [normalise(text) for text in texts]
    found = {}
    for group, own in terms.items():
        pattern = _pattern(own)
        places = np.array([place for place, text in enumerate(folded) if pattern.search(text)], dtype=np.int64)
        if 0 < len(places) < len(texts):
            found[f"mentions {group}"] = places
    return found


def slice_reports(
    slices: Mapping[str, IntVector], truth: IntVector, answers: IntVector, labels: Sequence[str]
) -> list[SliceReport]:
    """Return each slice beside all other rows, the widest loss of accuracy first."""
    from scipy.stats import fisher_exact

    right = answers == truth
    found: list[SliceReport] = []
    for name, places in slices.items():
        inside = np.zeros(len(truth), dtype=bool)
        inside[places] = True
        counts = [int(right[inside].sum()), int(inside.sum()), int(right[~inside].sum()), int((~inside).sum())]
        accuracy, gap = share(counts[0], counts[1]), difference(*counts)
        if accuracy is None or gap is None:
            continue
        table = np.array([[counts[0], counts[1] - counts[0]], [counts[2], counts[3] - counts[2]]])
        answer, answer_gap = _widest(inside, answers, np.ones(len(truth), dtype=bool), labels, least=1)
        recall, recall_gap = _widest(inside, answers, truth, labels, least=5)
        found.append(
            SliceReport(
                name=name,
                rows=counts[1],
                accuracy=accuracy,
                accuracy_gap=gap,
                p_value=float(fisher_exact(table).pvalue),
                holds=False,
                widest_answer=answer,
                widest_answer_gap=answer_gap,
                widest_recall=recall,
                widest_recall_gap=recall_gap,
            )
        )
    return sorted(_held(found), key=lambda item: item.accuracy_gap.value)


def _held(found: list[SliceReport]) -> list[SliceReport]:
    """Return the reports with Holm's verdict (Scandinavian Journal of Statistics 6, 1979, 65-70)."""
    ranked, holds = sorted(found, key=lambda item: item.p_value), True
    out = []
    for place, item in enumerate(ranked):
        holds = holds and item.p_value <= 0.05 / (len(ranked) - place)
        out.append(item.model_copy(update={"holds": holds}))
    return out


def _widest(
    inside: NDArray[np.bool_], answers: IntVector, of: NDArray[np.generic], labels: Sequence[str], *, least: int
) -> tuple[str | None, Interval | None]:
    """Return the label whose share of answers differs most inside: of all rows, or, for class indices ``of``, of its own."""
    widest: tuple[str | None, Interval | None] = None, None
    for place, label in enumerate(labels):
        asked = of == place if of.dtype != np.bool_ else np.ones(len(of), dtype=bool)
        said = answers == place
        ours, theirs = asked & inside, asked & ~inside
        if min(int(ours.sum()), int(theirs.sum())) < least:
            continue
        gap = difference(int((said & ours).sum()), int(ours.sum()), int((said & theirs).sum()), int(theirs.sum()))
        if gap is not None and (widest[1] is None or abs(gap.value) > abs(widest[1].value)):
            widest = label, gap
    return widest


def swap_reports(
    texts: Sequence[str], terms: Terms, score: Callable[[Sequence[str]], FloatMatrix], labels: Sequence[str]
) -> list[SwapReport]:
    """Return what swapping terms does to answers, for each pair of groups, in both directions.

    A text that means the same but for the group should be answered alike; whether a swap leaves the meaning is for the
    reader to judge, so some of the texts that changed are shown.
    """
    reports = []
    for group, into in permutations(terms, 2):
        swapped = [(text, other) for text in texts if (other := _swap(text, terms[group], terms[into])) != text][:_MOST_SWAPPED]
        if not swapped:
            continue
        before, after = score([text for text, _ in swapped]), score([other for _, other in swapped])
        was, becomes = before.argmax(axis=1), after.argmax(axis=1)
        changed = np.flatnonzero(was != becomes)
        reports.append(
            SwapReport(
                group=group,
                into=into,
                texts=len(swapped),
                changed=share(len(changed), len(swapped)),
                mean_shift=float(np.abs(before - after).sum(axis=1).mean() / 2),
                shown=[
                    Swap(
                        text=swapped[n][0][:_MOST_CHARS],
                        swapped=swapped[n][1][:_MOST_CHARS],
                        label=labels[int(was[n])],
                        swapped_label=labels[int(becomes[n])],
                    )
                    for n in changed[:_SHOWN].tolist()
                ],
            )
        )
    return reports


def _swap(text: str, terms: Sequence[str], into: Sequence[str]) -> str:
    # A group with fewer terms begins again: "nurse" alone stands for whatever the other group has.
    places = {term.casefold(): into[place % len(into)] for place, term in enumerate(terms)}

    def put(found: re.Match[str]) -> str:
        other = places.get(found[0].casefold(), found[0])
        return other[:1].upper() + other[1:] if found[0][:1].isupper() else other

    return _pattern(terms).sub(put, text)


def _pattern(terms: Sequence[str]) -> re.Pattern[str]:
    # Longest first, or "he" would be found in "he or she"; a script without spaces has no word boundaries to ask for.
    ordered = sorted(terms, key=len, reverse=True)
    parts = [rf"(?<![^\W_]){re.escape(term)}(?![^\W_])" if term.isascii() else re.escape(term) for term in ordered]
    return re.compile("|".join(parts), re.IGNORECASE)
