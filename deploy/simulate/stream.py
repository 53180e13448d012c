"""A labelled file as a stream: what is taught first, what comes step by step, and what is measured on at the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from core.errors import DataError, InvalidText
from core.settings import Settings
from core.text import Split, text_key
from serve.parsing import check_text
from train.reading import Table

PERIODS = {"day": 10, "month": 7, "year": 4}
_DATE_COLUMNS = ("timestamp", "date", "time", "datetime", "created_at", "published", "day", "日期", "时间")
_LEAST_BASE_ROWS = 30
# As many as a body of the service may have.
_LABEL_CHARS = 200
_TEST_NAMES = ("test", "holdout", "eval")


@dataclass(frozen=True)
class Row:
    """One labelled text; ``split`` where the file says it and it matters, for rows that are taught first."""

    text: str
    label: str
    split: Split | None = None


@dataclass(frozen=True)
class Step:
    """What is asked between two moments of learning."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Stream:
    """``base`` is taught before the first step; ``tests`` are fixed rows by name, on which every version is measured.

    No text stands twice, whatever the part. ``left_out`` rows of the file are in none: copies, and what cannot be asked.
    """

    name: str
    base: tuple[Row, ...]
    steps: tuple[Step, ...]
    tests: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    left_out: int = 0

    @property
    def rows(self) -> int:
        """How many texts are asked in all."""
        return sum(len(step.rows) for step in self.steps)

    @property
    def labels(self) -> list[str]:
        """All labels there are, sorted."""
        return sorted({row.label for part in (self.base, *(step.rows for step in self.steps)) for row in part})

    def first_of(self, place: int) -> int:
        """Return how many texts are asked before the step at ``place``."""
        return sum(len(step.rows) for step in self.steps[:place])

    def fingerprint(self) -> str:
        """Return a hash of all texts, labels and their places."""
        total = hashlib.sha256()
        parts = [("base", self.base), *((f"step {step.name}", step.rows) for step in self.steps), *sorted(self.tests.items())]
        for name, rows in parts:
            total.update(json.dumps([name, [(row.text, row.label, row.split) for row in rows]]).encode())
        return total.hexdigest()


@dataclass(frozen=True)
class Cut:
    """How a file becomes a stream.

    ``by`` is a period (``day``, ``month``, ``quarter``, ``year``), the name of a column whose values are the stages in the
    order in which they first appear, or ``rows``: ``steps`` equal parts of rows in an order that chance decides.
    """

    by: str
    date_column: str | None = None
    base_until: str | None = None
    base_steps: int | None = None
    steps: int = 30
    test_split: bool | None = None
    most_rows: int | None = None
    seed: int = 0


def stream_of(table: Table, cut: Cut) -> Stream:
    """Return the stream of a file.

    Raises:
        DataError: a column is missing, dates cannot be read, or there is too little to teach from or to ask.
    """
    frame = _usable(table)
    names = _step_names(frame, table, cut)
    tests: dict[str, tuple[Row, ...]] = {}
    wants_tests = cut.test_split if cut.test_split is not None else cut.by not in (*PERIODS, "quarter")
    if wants_tests and table.split is not None:
        held = frame[table.split].astype(str).str.lower().isin(_TEST_NAMES).to_numpy()
        if held.any():
            tests = {"test": _rows(frame[held], table)}
            frame, names = frame[~held], names[~held]
    if cut.most_rows is not None and len(frame) > cut.most_rows:
        kept = np.sort(np.random.default_rng(cut.seed).permutation(len(frame))[: cut.most_rows])
        frame, names = frame.iloc[kept], names[kept]
    order = _order(names, cut)
    base_names = _base_names(order, cut, table)
    base = _rows(frame[np.isin(names, base_names)], table)
    steps = tuple(Step(name, _rows(frame[names == name], table)) for name in order if name not in set(base_names))
    left_out = len(table.frame) - len(base) - sum(map(len, tests.values())) - sum(len(step.rows) for step in steps)
    return checked(Stream(table.name.rsplit(".", 1)[0], base, steps, tests, left_out))


def checked(stream: Stream) -> Stream:
    """Return ``stream`` if it can be simulated.

    Raises:
        DataError: there is too little in it.
    """
    labels = {row.label for row in stream.base}
    if len(stream.base) < _LEAST_BASE_ROWS:
        raise DataError(
            f"{stream.name} has {len(stream.base)} rows to teach before the first step; {_LEAST_BASE_ROWS} are needed "
            "(--base-until or --base-steps decide what is taught first)"
        )
    if len(labels) < 2:
        raise DataError(f"{stream.name} has {len(labels)} label in the rows that are taught first; a classifier needs two")
    if not stream.rows:
        raise DataError(f"{stream.name} has no rows left to ask after those that are taught first")
    return stream


def _usable(table: Table) -> pd.DataFrame:
    frame = table.frame
    texts = frame[table.text]
    labels = frame[table.label].map(lambda value: "" if pd.isna(value) else " ".join(str(value).split()))
    fit = texts.map(partial(_may_be_asked, Settings())) & labels.map(lambda label: 0 < len(label) <= _LABEL_CHARS)
    frame = frame.assign(**{table.label: labels})[fit]
    # A text that is asked twice would be asked after it was learned.
    keys = frame[table.text].map(text_key)
    return frame[~keys.duplicated()].reset_index(drop=True)


def _may_be_asked(settings: Settings, text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        check_text(text, "text", settings)
    except InvalidText:
        return False
    return True


def _step_names(frame: pd.DataFrame, table: Table, cut: Cut) -> np.ndarray:
    if cut.by == "rows":
        places = np.random.default_rng(cut.seed).permutation(len(frame))
        names = np.empty(len(frame), dtype=object)
        # The first part is what is taught: half, unless the caller says otherwise.
        for number, part in enumerate(np.array_split(places, 2 * cut.steps)):
            names[part] = f"{number:04d}"
        return names
    if cut.by in (*PERIODS, "quarter"):
        return _periods(frame, table, cut)
    if cut.by not in frame.columns:
        raise DataError(
            f"{table.name} has no column {cut.by!r} to go by; it has: {', '.join(map(str, frame.columns[:20]))}, "
            "and day, month, quarter, year go by its dates, rows by none"
        )
    return frame[cut.by].astype(str).to_numpy(dtype=object)


def _periods(frame: pd.DataFrame, table: Table, cut: Cut) -> np.ndarray:
    columns = {str(name).casefold(): str(name) for name in frame.columns}
    column = cut.date_column or next((columns[name] for name in _DATE_COLUMNS if name in columns), None)
    if column is None or column not in frame.columns:
        what = "no column that looks like a date" if column is None else f"no column {column!r}"
        raise DataError(
            f"{table.name} has {what}; it has: {', '.join(map(str, frame.columns[:20]))}; name one with --date-column"
        )
    moments = pd.to_datetime(frame[column], errors="coerce", utc=True, format="mixed")
    bad = int(moments.isna().sum())
    if bad:
        raise DataError(f"{bad} of {len(frame)} values of {column!r} in {table.name} cannot be read as dates")
    if cut.by == "quarter":
        return np.array([f"{moment.year}-Q{(moment.month + 2) // 3}" for moment in moments], dtype=object)
    return np.array([moment.isoformat()[: PERIODS[cut.by]] for moment in moments], dtype=object)


def _order(names: np.ndarray, cut: Cut) -> list[str]:
    found = list(dict.fromkeys(names.tolist()))
    return sorted(found) if cut.by in (*PERIODS, "quarter", "rows") else found


def _base_names(order: Sequence[str], cut: Cut, table: Table) -> list[str]:
    if cut.base_until is not None:
        if cut.by in (*PERIODS, "quarter", "rows"):
            return [name for name in order if name[: len(cut.base_until)] <= cut.base_until]
        if cut.base_until not in order:
            raise DataError(f"{table.name} has no stage {cut.base_until!r}; its stages are: {', '.join(order[:20])}")
        return list(order[: order.index(cut.base_until) + 1])
    if len(order) < 2:
        raise DataError(f"{table.name} has {len(order)} step by {cut.by}; something must be left to ask after what is taught")
    default = len(order) // 2 if cut.by == "rows" else max(1, len(order) // 4)
    return list(order[: cut.base_steps or default])


def _rows(frame: pd.DataFrame, table: Table) -> tuple[Row, ...]:
    return tuple(Row(str(text), str(label)) for text, label in zip(frame[table.text], frame[table.label], strict=True))
