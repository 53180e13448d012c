"""From rows to examples: what was dropped, merged or decided, with row numbers."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from pydantic import BaseModel, Field

from core.errors import DataError
from core.text import Split, TextSettings, clean, split_of, text_key
from feedback.snapshot import Example
from train.reading import Table

_SHOWN = 10
_SMALL = 5_000
_MOST_VALIDATION = 0.5
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "holdout", "eval"), "test"),
}


class Finding(BaseModel):
    """One kind of trouble: how often, what was done, and the first rows (counted from 1, the header not counted)."""

    what: str
    count: int
    action: str
    rows: list[int]


class DataReport(BaseModel):
    """What a file holds and what was done about it."""

    source: str
    rows: int = Field(description="Rows in the file.")
    examples: int = Field(description="Examples that are left.")
    splits: dict[str, int]
    labels: dict[str, int]
    split_from: str = Field(description="`column` when the file says it, `hash` when the text's hash decides.")
    encoding: str | None
    findings: list[Finding]


@dataclass
class _Notes:
    rows: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, what: str, action: str, row: int) -> None:
        self.rows[(what, action)].append(row + 1)

    def findings(self) -> list[Finding]:
        return [Finding(what=what, count=len(at), action=action, rows=at[:_SHOWN]) for (what, action), at in self.rows.items()]


@dataclass
class _Row:
    row: int
    text: str
    key: str
    label: str
    split: Split | None
    metadata: Mapping[str, Any]


def to_examples(
    table: Table,
    settings: TextSettings,
    *,
    to_train: bool = True,
    metadata: Sequence[str] = (),
    validation_ratio: float | None = None,
) -> tuple[list[Example], DataReport]:
    """Return the examples of a table and the report.

    Empty rows and rows without a label are dropped. Labels that differ in spaces or case are merged into the commonest
    spelling. Of equal texts one is kept; where they disagree in label the majority decides and a tie drops the text from
    training. A text that stands in two splits stays in the one nearest to training: a question that was taught is no fair
    question, and dropping it from the training part instead would cost what is learned from it (331 of the 1,200 test texts
    of ChnSentiCorp are such copies). With ``to_train`` labels without training rows are
    dropped too. The columns named in ``metadata`` stay with the examples. With ``validation_ratio`` that share of the training
    and validation rows, by the texts' hash, is the validation part, whatever the file says of it; the others are for training.

    Raises:
        DataError: when it is ``to_train``, and fewer than two labels, or no training rows, are left; a column is missing;
            or the ratio is not allowed.
    """
    if validation_ratio is not None and not 0 < validation_ratio <= _MOST_VALIDATION:
        raise DataError(
            f"validation takes {validation_ratio:g} of the rows; more than 0 and at most {_MOST_VALIDATION} is allowed"
        )
    notes = _Notes()
    rows = _usable_rows(table, settings, notes, metadata)
    if validation_ratio is not None:
        for row in rows:
            row.split = "train" if row.split == "validation" else row.split
    _merge_labels(rows, notes)
    kept = _deduplicate(rows, notes)
    examples = _assign_splits(kept, validation_ratio)
    if to_train:
        examples = _drop_unlearnable(table, examples, kept, notes)
    report = DataReport(
        source=table.name,
        rows=len(table.frame),
        examples=len(examples),
        splits=dict(Counter(example.split for example in examples)),
        labels=dict(Counter(example.label for example in examples).most_common()),
        split_from="column" if any(row.split for row in kept) else "hash",
        encoding=table.encoding,
        findings=notes.findings(),
    )
    return examples, report


def _usable_rows(table: Table, settings: TextSettings, notes: _Notes, metadata: Sequence[str]) -> list[_Row]:
    missing = [name for name in metadata if name not in table.frame.columns]
    if missing:
        names = ", ".join(map(str, table.frame.columns[:20]))
        raise DataError(f"{table.name} has no column {missing[0]!r}; it has: {names}")
    # As text: a value of metadata is what a person would write.
    fields = {name: ["" if pd.isna(value) else str(value) for value in table.frame[name]] for name in metadata}
    splits = table.frame[table.split] if table.split else [None] * len(table.frame)
    rows = []
    for place, (text, label, split) in enumerate(zip(table.frame[table.text], table.frame[table.label], splits, strict=True)):
        if not isinstance(text, str) or not clean(text, settings):
            notes.add("empty text", "dropped", place)
            continue
        name = _label_name(label)
        if not name:
            notes.add("no label", "dropped", place)
            continue
        unfit = next((what for what, value in (("text", text), ("label", name)) if _UNFIT.search(value)), None)
        if unfit is not None:
            notes.add(f"NUL or lone surrogate in {unfit}", "dropped", place)
            continue
        known = _SPLITS.get(str(split).strip().casefold()) if isinstance(split, str) else None
        if table.split and known is None:
            notes.add("unknown split name", "split decided by the text's hash", place)
        own = {field: values[place] for field, values in fields.items() if values[place]}
        rows.append(_Row(place, text, text_key(text), name, known, own))
    return rows


def _label_name(label: object) -> str:
    if label is None or label is pd.NA or (isinstance(label, float) and math.isnan(label)):
        return ""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return " ".join(str(label).split())


def _merge_labels(rows: list[_Row], notes: _Notes) -> None:
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        spellings[row.label.casefold()][row.label] += 1
    for row in rows:
        # Ties go to the spelling that sorts first, so the outcome does not depend on the order of rows.
        best = min(spellings[row.label.casefold()].items(), key=lambda item: (-item[1], item[0]))[0]
        if row.label != best:
            notes.add("label differs in case only", f"merged into {best!r}", row.row)
            row.label = best


def _deduplicate(rows: list[_Row], notes: _Notes) -> list[_Row]:
    groups: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        groups[row.key].append(row)
    kept = []
    for group in groups.values():
        if len(group) == 1:
            kept.append(group[0])
            continue
        first = _first_split(group)
        if len({row.split for row in group}) > 1:
            for row in group:
                if row.split != first:
                    notes.add("text stands in two splits", f"kept in {first} only", row.row)
        # The labels of the split that stays decide.
        voters = [row for row in group if row.split == first]
        votes = Counter(row.label for row in voters).most_common()
        if len(votes) > 1 and votes[0][1] == votes[1][1]:
            for row in group:
                notes.add("same text, contradicting labels, no majority", "dropped", row.row)
            continue
        # Of several spellings of the text the one that sorts first, so the outcome does not depend on the order of rows.
        chosen = min((row for row in voters if row.label == votes[0][0]), key=lambda row: (row.text, row.row))
        kept.append(chosen)
        for row in group:
            if row is not chosen and row.label != chosen.label:
                notes.add("same text, contradicting labels", "majority kept", row.row)
            elif row is not chosen:
                notes.add("duplicate text", "one kept", row.row)
    return sorted(kept, key=lambda row: row.row)


def _first_split(group: list[_Row]) -> Split | None:
    for split in ("train", "validation", "test"):
        if any(row.split == split for row in group):
            return split
    return None


def _assign_splits(rows: list[_Row], asked: float | None) -> list[Example]:
    """Splits named by the file stand; what it leaves open is decided by the hash, so it is the same for ever.

    A file without a validation part gives a tenth of its training texts to it, or a twentieth of more than 5,000: what is
    chosen there needs some hundred rows, and every further one is missed in training. One without a test part gives a fifth.
    ``asked`` stands for the tenth or the twentieth.
    """
    named = {row.split for row in rows}
    whole = None in named and len(named) == 1
    usual = 0.1 if sum(row.split == "train" for row in rows) <= _SMALL else 0.05

    def decided(key: str, test: float, validation: float) -> Split:
        # What was asked for is a share of the rows beside the test part.
        return split_of(key, test_ratio=test, validation_ratio=validation if asked is None else asked * (1.0 - test))

    examples = []
    for row in rows:
        split = row.split
        if split is None:
            split = decided(row.key, 0.2, 0.1)
        elif split == "train" and not whole:
            split = decided(row.key, 0.0 if "test" in named else 0.2, 0.0 if "validation" in named else usual)
        examples.append(Example(row.text, row.key, row.label, split, metadata=row.metadata))
    return examples


def _drop_unlearnable(table: Table, examples: list[Example], rows: list[_Row], notes: _Notes) -> list[Example]:
    """Return the examples whose label has training rows; ``rows`` are those they come from, in the same order."""
    labels = Counter(example.label for example in examples)
    taught = {example.label for example in examples if example.split == "train"}
    if len(labels) < 2:
        raise DataError(
            f"{table.name} has {len(labels)} label ({_listed(labels)}) in {len(examples)} usable rows; a classifier needs two"
        )
    if not taught:
        splits = Counter(example.split for example in examples)
        raise DataError(f"{table.name} has no rows to train on; its splits are: {dict(splits)}")
    if len(taught) < 2:
        raise DataError(f"{table.name} has 1 label ({_listed(taught)}) with rows to train on; a classifier needs two")
    left = []
    for example, row in zip(examples, rows, strict=True):
        if example.label in taught:
            left.append(example)
        else:
            notes.add("label has no training rows", "dropped", row.row)
    return left


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(map(repr, labels)) or "none"
