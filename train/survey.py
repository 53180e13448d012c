"""What a file of labelled texts is like, before anything is learned from it: labels, lengths, words, languages, leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field
from tokenizers import Tokenizer

from core.drift.detector import Detector
from core.drift.samples import Sample, Texts, measure_texts, shares
from core.drift.suite import make_detectors
from core.ngrams import words_of
from core.text import Split, TextSettings, clean
from feedback.examples import Example
from feedback.near_duplicates import near_duplicates
from train.cleaning import DataReport, to_examples
from train.reading import read_table
from train.rows import token_limit

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# With fewer, none can be held out without missing it in training.
FEW_ROWS = 10
# Languages are told at some thousand texts a second, near duplicates found at about as many.
_MEASURED_ROWS = 5_000
_COMPARED_ROWS = 30_000
_RESEMBLANCE = 0.85
_DUPLICATE_CHARS = 30
_SHOWN = 20
_SHOWN_CHARS = 120
_SHIFTS = ("length", "unknown_words", "language", "label_js")


class Spread(BaseModel):
    """How a number is spread over texts."""

    mean: float
    median: float
    p95: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of one value or more."""
        found = np.asarray(values, dtype=np.float64)
        middle, high = np.quantile(found, (0.5, 0.95))
        return cls(mean=round(float(found.mean()), 2), median=float(middle), p95=float(high), most=float(found.max()))


class LabelRows(BaseModel):
    """One label's rows."""

    label: str
    rows: int
    share_ratio: float
    by_split: dict[str, int]


class Imbalance(BaseModel):
    """How unevenly labels are spread over the training rows."""

    largest: str
    largest_rows: int
    smallest: str
    smallest_rows: int
    ratio: float = Field(description="Rows of the largest label for each of the smallest.")
    effective_labels: float = Field(description="exp(entropy): so many equally frequent labels would be as hard to guess.")
    few: list[str] = Field(description=f"Labels with fewer than {FEW_ROWS} training rows.")


class Shift(BaseModel):
    """How far a split is from the training rows in one respect, by the detectors that watch traffic for drift."""

    what: str
    size: float
    unit: str
    p_value: float


class Part(BaseModel):
    """One split. Words new to it are those that no training text has."""

    split: str
    rows: int
    labels: int
    chars: Spread
    words: Spread
    word_lengths: dict[int, int] = Field(description="Texts by their number of words.")
    tokens: Spread
    unknown_token_ratio: float = Field(description="Share of tokens that are the tokenizer's unknown one.")
    unknown_text_ratio: float = Field(description="Share of texts with one such token or more.")
    cut_ratio: float = Field(description="Share of texts with more tokens than `token_limit`.")
    new_word_ratio: float | None = Field(description="Share of words that no training text has; null for the training part.")
    languages: dict[str, float]
    shifts: list[Shift]


class NearPair(BaseModel):
    """Two texts that are all but the same."""

    text: str
    label: str
    split: str
    other_text: str
    other_label: str
    other_split: str


class NearDuplicates(BaseModel):
    """Texts that share 85% of their runs of four characters; equal ones are among the findings of `cleaning` already."""

    compared_rows: int
    pairs: int
    across_splits: int = Field(description="Leaks: one of the two is a question, the other its answer.")
    contradicting: int = Field(description="Pairs with different labels.")
    shown: list[NearPair] = Field(description="Contradictions first, then leaks.")


class DataSurvey(BaseModel):
    """What a file is like. `cleaning` has what was dropped, merged or found twice, with row numbers."""

    source: str
    cleaning: DataReport
    labels: list[LabelRows]
    imbalance: Imbalance | None
    parts: list[Part]
    token_limit: int = Field(description="Where training would cut texts, in tokens.")
    measured_rows: int = Field(description="Rows of which languages and shifts are told, evenly taken from each split.")
    near_duplicates: NearDuplicates


def survey(
    data: Path, *, base: str | None = None, text_column: str | None = None, label_column: str | None = None
) -> DataSurvey:
    """Return what the file ``data`` is like to the encoder ``base`` (None: the bundled one).

    Raises:
        DataError: the file is refused.
        EncoderError: the encoder has no tokenizer that can be read.
    """
    from train.base import load_base_tokenizer

    table = read_table(data, text_column=text_column, label_column=label_column)
    settings = TextSettings.model_validate({})
    examples, cleaning = to_examples(table, settings, to_train=False)
    return survey_of(examples, cleaning, load_base_tokenizer(base), [clean(example.text, settings) for example in examples])


def survey_of(examples: Sequence[Example], cleaning: DataReport, tokenizer: Tokenizer, texts: Sequence[str]) -> DataSurvey:
    """Return the same of cleaned ``texts``, one of each of ``examples``."""
    by_split = {split: [n for n, example in enumerate(examples) if example.split == split] for split in SPLITS}
    present = [split for split in SPLITS if by_split[split]]
    known = {word for place in by_split["train"] for word in words_of(texts[place])}
    tokens = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    # As many positions as any encoder in use has; which one it will be is not known here.
    limit = token_limit([len(ids) for ids in tokens], 512)
    reading = _Reading(examples, texts, tokens, _unknown_id(tokenizer), known, limit)
    samples = {split: reading.sample(by_split[split]) for split in present}
    detectors = {}
    if "train" in samples:
        detectors = {d.name: d.fit(samples["train"]) for d in make_detectors() if d.name in _SHIFTS}
    return DataSurvey(
        source=cleaning.source,
        cleaning=cleaning,
        labels=_labels(examples),
        imbalance=_imbalance(examples),
        parts=[reading.part(split, by_split[split], samples[split], detectors) for split in present],
        token_limit=limit,
        measured_rows=sum(map(len, samples.values())),
        near_duplicates=_near(examples, texts),
    )


class _Reading:
    """Texts as the tokenizer and the word list read them."""

    def __init__(
        self,
        examples: Sequence[Example],
        texts: Sequence[str],
        tokens: Sequence[list[int]],
        unknown: int | None,
        known: set[str],
        limit: int,
    ) -> None:
        self._examples, self._texts, self._tokens = examples, texts, tokens
        self._unknown, self._known, self._limit = unknown, known, limit

    def sample(self, places: Sequence[int]) -> Sample:
        chosen = [places[place] for place in _spread(len(places), _MEASURED_ROWS)]
        measured = measure_texts([self._texts[place] for place in chosen], self._known.__contains__)
        labels = tuple(self._examples[place].label for place in chosen)
        return Sample(labels, np.ones(len(chosen), dtype=np.float32), measured)

    def part(self, split: Split, places: Sequence[int], sample: Sample, detectors: dict[str, Detector]) -> Part:
        tokens = [self._tokens[place] for place in places]
        unknown = [ids.count(self._unknown) if self._unknown is not None else 0 for ids in tokens]
        words = [words_of(self._texts[place]) for place in places]
        new = sum(word not in self._known for text in words for word in text)
        measured: Texts | None = sample.texts
        return Part(
            split=split,
            rows=len(places),
            labels=len({self._examples[place].label for place in places}),
            chars=Spread.of([len(self._texts[place]) for place in places]),
            words=Spread.of([len(text) for text in words]),
            word_lengths=dict(sorted(Counter(map(len, words)).items())),
            tokens=Spread.of([len(ids) for ids in tokens]),
            unknown_token_ratio=sum(unknown) / max(1, sum(map(len, tokens))),
            unknown_text_ratio=sum(map(bool, unknown)) / len(places),
            cut_ratio=sum(len(ids) > self._limit for ids in tokens) / len(places),
            new_word_ratio=None if split == "train" else new / max(1, sum(map(len, words))),
            languages=shares(measured.languages) if measured is not None else {},
            shifts=[] if split == "train" else _shifts(sample, detectors),
        )


def _shifts(sample: Sample, detectors: dict[str, Detector]) -> list[Shift]:
    scored = [(name, detector.unit, detector.score(sample)) for name, detector in detectors.items()]
    return [Shift(what=name, size=found.size, unit=unit, p_value=found.p_value) for name, unit, found in scored if found]


def _labels(examples: Sequence[Example]) -> list[LabelRows]:
    counts = Counter(example.label for example in examples)
    by_split = Counter((example.label, example.split) for example in examples)
    return [
        LabelRows(
            label=label,
            rows=rows,
            share_ratio=rows / len(examples),
            by_split={split: by_split[label, split] for split in SPLITS if by_split[label, split]},
        )
        for label, rows in counts.most_common()
    ]


def _imbalance(examples: Sequence[Example]) -> Imbalance | None:
    counts = Counter(example.label for example in examples if example.split == "train")
    if not counts:
        return None
    ranked = counts.most_common()
    shares_ = np.array([rows for _, rows in ranked], dtype=np.float64) / counts.total()
    (largest, most), (smallest, least) = ranked[0], ranked[-1]
    return Imbalance(
        largest=largest,
        largest_rows=most,
        smallest=smallest,
        smallest_rows=least,
        ratio=most / least,
        effective_labels=float(np.exp(-(shares_ * np.log(shares_)).sum())),
        few=sorted({example.label for example in examples if counts[example.label] < FEW_ROWS}),
    )


def _near(examples: Sequence[Example], texts: Sequence[str]) -> NearDuplicates:
    chosen = _spread(len(texts), _COMPARED_ROWS)
    found = near_duplicates([texts[n] for n in chosen], resemblance=_RESEMBLANCE, min_chars=_DUPLICATE_CHARS)
    pairs = [(examples[chosen[a]], examples[chosen[b]]) for a, b in found]
    contradict = [a.label != b.label for a, b in pairs]
    leak = [a.split != b.split for a, b in pairs]
    order = sorted(range(len(pairs)), key=lambda n: (not contradict[n], not leak[n], n))
    return NearDuplicates(
        compared_rows=len(chosen),
        pairs=len(pairs),
        across_splits=sum(leak),
        contradicting=sum(contradict),
        shown=[
            NearPair(
                text=a.text[:_SHOWN_CHARS],
                label=a.label,
                split=a.split,
                other_text=b.text[:_SHOWN_CHARS],
                other_label=b.label,
                other_split=b.split,
            )
            for a, b in (pairs[n] for n in order[:_SHOWN] if contradict[n] or leak[n])
        ],
    )


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    name = getattr(tokenizer.model, "unk_token", None)
    return tokenizer.token_to_id(name) if name is not None else None


def _spread(count: int, most: int) -> list[int]:
    """Return at most ``most`` places of ``count``, evenly spread, in order."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(count, most)).round()})
