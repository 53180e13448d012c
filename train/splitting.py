"""Dividing a file into training, validation and test part: alike in labels, whole groups, or by time.

Whatever the way, equal texts stay together: a question that was taught is no fair question.
"""

from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from core.errors import DataError
from core.text import text_key
from train.page import write_report
from train.reading import Table, read_table

Way = Literal["stratified", "grouped", "time"]
IntVector = NDArray[np.int64]

_MOST_FOLDS = 20
_ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl")


@dataclass(frozen=True)
class SplitRequest:
    """How to divide ``data``. ``column`` names the groups, or the time; ``stratified`` takes none."""

    data: Path
    way: Way = "stratified"
    column: str | None = None
    test_ratio: float = 0.2
    validation_ratio: float = 0.1
    seed: int = 0
    text_column: str | None = None
    label_column: str | None = None


class SplitReport(BaseModel):
    """What each part has."""

    source: str
    way: Way
    rows: dict[str, int]
    labels: dict[str, int] = Field(description="Labels that occur in each part.")
    groups: int = Field(description="What was kept whole: different texts, or groups joined by the texts they share.")
    until: dict[str, str] | None = Field(
        None, description="The latest time in each part, of texts that came for the first time."
    )


def split_file(request: SplitRequest, target: Path) -> SplitReport:
    """Write the rows of a file to ``target`` with a column ``split``, all other columns as they were.

    ``stratified`` gives each part the same shares of labels; a label with too few texts to be divided stays in training.
    ``grouped`` keeps rows with the same value of a column together, and the shares of labels as even as that allows. ``time``
    trains on the oldest rows and tests on the newest.

    Raises:
        DataError: the file is refused, a column is missing or unusable, or there are too few texts.
    """
    if target.suffix.lower() not in _ENDINGS:
        raise DataError(f"{target.name} has the ending {target.suffix or 'none'}; written are {', '.join(_ENDINGS)}")
    if not 0 < request.test_ratio + request.validation_ratio < 1 or min(request.test_ratio, request.validation_ratio) < 0:
        raise DataError(
            f"test and validation take {request.test_ratio:g} and {request.validation_ratio:g}; together more than 0 and less "
            "than 1 is allowed, and neither below 0"
        )
    table = read_table(request.data, text_column=request.text_column, label_column=request.label_column)
    frame = table.frame
    keys = [text_key(str(text)) for text in frame[table.text]]
    labels = frame[table.label].astype(str).to_numpy()
    times = _times(table, request.column) if request.way == "time" else None
    until: dict[str, str] | None = None
    if times is not None:
        (parts, until), groups = _by_time(times, keys, request), len(set(keys))
    elif request.way == "grouped":
        joined = _joined(keys, _column(table, request.column).astype(str).tolist())
        parts, groups = _by_group(labels, joined, request), int(joined.max()) + 1
    else:
        parts, groups = _alike(labels, keys, request), len(set(keys))
    frame = frame.assign(**{table.split or "split": parts})
    _write(frame, target)
    names = [name for name in ("train", "validation", "test") if (parts == name).any()]
    return SplitReport(
        source=table.name,
        way=request.way,
        rows={name: int((parts == name).sum()) for name in names},
        labels={name: len(set(labels[parts == name])) for name in names},
        groups=groups,
        until=until,
    )


def _alike(labels: NDArray[Any], keys: list[str], request: SplitRequest) -> NDArray[Any]:
    _, first, text_of = np.unique(keys, return_index=True, return_inverse=True)
    label_of = labels[first]
    names, counts = np.unique(label_of, return_counts=True)
    left = np.arange(len(first))
    parts = np.full(len(first), "train", dtype=object)
    for name, ratio in (("test", request.test_ratio), ("validation", request.validation_ratio / (1 - request.test_ratio))):
        if not ratio:
            continue
        names, counts = np.unique(label_of[left], return_counts=True)
        often = np.isin(label_of[left], names[counts >= 2])
        try:
            rest, taken = train_test_split(
                left[often], test_size=ratio, random_state=request.seed, stratify=label_of[left[often]]
            )
        except ValueError as error:
            raise DataError(
                f"{request.data.name} has {len(left)} different texts of {len(names)} labels; that is too few to give "
                f"{ratio:.0%} of each label to the {name} part"
            ) from error
        parts[taken] = name
        left = np.sort(np.concatenate([rest, left[~often]]))
    return np.asarray(parts[text_of.ravel()])


def _by_group(labels: NDArray[Any], groups: IntVector, request: SplitRequest) -> NDArray[Any]:
    parts = np.full(len(labels), "train", dtype=object)
    left = np.arange(len(labels))
    for name, ratio in (("test", request.test_ratio), ("validation", request.validation_ratio / (1 - request.test_ratio))):
        if not ratio:
            continue
        share = Fraction(ratio).limit_denominator(_MOST_FOLDS)
        count = len(np.unique(groups[left]))
        if count < share.denominator:
            raise DataError(
                f"{request.data.name} has {count} groups of {request.column}; {share.denominator} are needed to give "
                f"{ratio:.0%} to the {name} part"
            )
        folds = StratifiedGroupKFold(share.denominator, shuffle=True, random_state=request.seed)
        with warnings.catch_warnings():
            # That a label has fewer rows than there are folds is no reason not to divide the others.
            warnings.simplefilter("ignore", UserWarning)
            outside = [left[places] for _, places in folds.split(left, labels[left], groups[left])]
        taken = np.concatenate(outside[: share.numerator])
        parts[taken] = name
        left = np.setdiff1d(left, taken)
    return parts


def _by_time(times: pd.Series[Any], keys: list[str], request: SplitRequest) -> tuple[NDArray[Any], dict[str, str]]:
    """Return each row's part, and the latest time of a text that is new in each."""
    values = times.to_numpy()
    order = np.argsort(values, kind="stable")
    ends = [len(order) - round(request.test_ratio * len(order)), len(order)]
    ends.insert(0, ends[0] - round(request.validation_ratio * len(order)))
    parts = np.empty(len(order), dtype=object)
    for name, start, end in zip(("train", "validation", "test"), [0, *ends[:-1]], ends, strict=True):
        parts[order[start:end]] = name
    # A text that comes again is known by then: it stays where it came first.
    first: dict[str, Any] = {}
    until: dict[str, str] = {}
    for place in order:
        if keys[place] not in first:
            first[keys[place]] = parts[place]
            until[parts[place]] = str(values[place])
        parts[place] = first[keys[place]]
    return parts, until


def _joined(keys: list[str], groups: list[str]) -> IntVector:
    """Return the number of each row's group; groups that share a text are one."""
    names, group_of = np.unique(groups, return_inverse=True)
    texts, text_of = np.unique(keys, return_inverse=True)
    size = len(names) + len(texts)
    edges = coo_matrix((np.ones(len(keys)), (group_of.ravel(), len(names) + text_of.ravel())), shape=(size, size))
    _, found = connected_components(edges, directed=False)
    return np.unique(found[group_of.ravel()], return_inverse=True)[1].ravel().astype(np.int64)


def _times(table: Table, column: str | None) -> pd.Series[Any]:
    values = _column(table, column)
    # Numbers are taken as they are: years, seconds, whatever grows.
    times = (
        values if pd.api.types.is_numeric_dtype(values) else pd.to_datetime(values, errors="coerce", utc=True, format="mixed")
    )
    if times.isna().any():
        row = int(np.flatnonzero(times.isna().to_numpy())[0]) + 1
        raise DataError(
            f"{table.name} has no time in {int(times.isna().sum())} rows of the column {column}; the first is row {row}"
        )
    return times


def _column(table: Table, column: str | None) -> pd.Series[Any]:
    names = [str(name) for name in table.frame.columns]
    if column is None or names.count(column) != 1:
        raise DataError(f"{table.name} has no single column {column!r} to divide by; it has: {', '.join(names[:20])}")
    found = table.frame[column]
    if not isinstance(found, pd.Series):
        raise DataError(f"{table.name} has several columns {column!r}")
    return found


def _write(frame: pd.DataFrame, target: Path) -> None:
    ending = target.suffix.lower()
    if ending == ".parquet":
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            frame.to_parquet(target, index=False)
        except OSError as error:
            raise DataError(f"{target} cannot be written: {error.strerror or type(error).__name__}") from error
    elif ending == ".jsonl":
        write_report(target, frame.to_json(orient="records", lines=True, force_ascii=False))
    else:
        text = frame.to_csv(index=False, sep="\t" if ending == ".tsv" else ",", quoting=csv.QUOTE_MINIMAL)
        write_report(target, text)
