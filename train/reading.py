"""Reading a training file: which format, which columns, and what is wrong with the rows."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from core.errors import DataError

TEXT_COLUMNS = (
    "text",
    "sentence",
    "review",
    "content",
    "utterance",
    "query",
    "comment",
    "title",
    "body",
    "文本",
    "评论",
    "内容",
)
LABEL_COLUMNS = ("label", "labels", "category", "class", "intent", "sentiment", "target", "标签", "类别")
SPLIT_COLUMNS = ("split", "partition", "fold_name")
_ENCODINGS = ("utf-8-sig", "gb18030")
_READERS = ".csv, .tsv, .jsonl, .json, .parquet, or a folder written by Hugging Face datasets"


@dataclass(frozen=True)
class Table:
    """A file as read: one row per example, with its columns found."""

    name: str
    frame: pd.DataFrame
    text: str
    label: str
    split: str | None
    encoding: str | None


def read_table(
    path: Path, *, text_column: str | None = None, label_column: str | None = None, need_label: bool = True
) -> Table:
    """Return the rows of ``path`` with the columns to use.

    Raises:
        DataError: when the file is absent, empty, of another format, badly encoded, or lacks the columns.
    """
    if not path.exists():
        raise DataError(f"there is no file {path}")
    try:
        frame, encoding = _read(path)
    except DataError:
        raise
    except Exception as error:
        # Every reader has its own exceptions; all mean that the file is not what its name says.
        raise DataError(
            f"{path.name} cannot be read as {path.suffix or 'a data set folder'}: {type(error).__name__}"
        ) from error
    if frame.empty:
        raise DataError(f"{path.name} holds no rows")
    frame.columns = [str(name).strip() for name in frame.columns]
    text = _column(path, frame, text_column, TEXT_COLUMNS, "text")
    label = _column(path, frame, label_column, LABEL_COLUMNS, "label") if need_label else text
    folded = {name.casefold(): name for name in frame.columns}
    split = next((folded[name] for name in SPLIT_COLUMNS if name in folded), None)
    return Table(path.name, frame.reset_index(drop=True), text, label, split, encoding)


def _column(path: Path, frame: pd.DataFrame, named: str | None, usual: tuple[str, ...], what: str) -> str:
    columns = [str(name) for name in frame.columns]
    folded = {name.casefold(): name for name in columns}
    if named is not None and named not in columns:
        raise DataError(f"{path.name} has no column {named!r}; it has: {', '.join(columns[:20])}")
    found = named or next((folded[name] for name in usual if name in folded), None)
    if found is None:
        raise DataError(
            f"{path.name} has no column that looks like the {what} (one of {', '.join(usual[:6])} …); "
            f"it has: {', '.join(columns[:20])}; name one with --{what}-column"
        )
    if columns.count(found) > 1:
        raise DataError(f"{path.name} has {columns.count(found)} columns named {found!r}; the {what} must stand in one")
    return found


def _read(path: Path) -> tuple[pd.DataFrame, str | None]:
    if path.is_dir():
        return _read_folder(path), None
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return pd.read_parquet(path), None
    if suffix not in (".csv", ".tsv", ".jsonl", ".ndjson", ".json"):
        raise DataError(f"{path.name} has the ending {suffix or 'none'}; read are {_READERS}")
    text, encoding = _decode(path)
    if not text.strip():
        raise DataError(f"{path.name} is empty")
    if suffix in (".csv", ".tsv"):
        return _read_separated(path, text, "\t" if suffix == ".tsv" else None), encoding
    return _read_json(path, text), encoding


def _decode(path: Path) -> tuple[str, str]:
    data = path.read_bytes()
    for encoding in _ENCODINGS:
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
    raise DataError(f"{path.name} is neither UTF-8 nor GB18030; the first bytes that fit neither are in line {line}")


def _read_separated(path: Path, text: str, separator: str | None) -> pd.DataFrame:
    if separator is None:
        head = text.split("\n", 1)[0]
        separator = max(",;\t", key=head.count)
    csv.field_size_limit(10_000_000)
    # Not splitlines, here and below: it also cuts at U+2028 and a few more signs, which are part of a text.
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restkey="_extra")
    rows: list[dict[str, Any]] = list(reader)
    broken = [place + 1 for place, row in enumerate(rows) if "_extra" in row]
    if broken:
        raise DataError(
            f"{path.name} has {len(broken)} rows with more cells than the header, the first is row {broken[0]} below it; "
            "quote texts that hold the separator"
        )
    return pd.DataFrame(rows, columns=list(reader.fieldnames or []))


def _read_json(path: Path, text: str) -> pd.DataFrame:
    if path.suffix.lower() == ".json" and text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{path.name} is no JSON array: it breaks off in line {error.lineno}") from error
    else:
        rows = []
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise DataError(f"{path.name} has no JSON object in line {number}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path.name} holds JSON that is not objects with named fields")
    return pd.DataFrame(rows)


def _read_folder(path: Path) -> pd.DataFrame:
    import datasets

    datasets.disable_progress_bars()
    loaded = datasets.load_from_disk(str(path))
    parts = loaded if isinstance(loaded, dict) else {None: loaded}
    frames: list[pd.DataFrame] = []
    for split, part in parts.items():
        frame = part.to_pandas()
        for column, feature in part.features.items():
            if isinstance(feature, datasets.ClassLabel):
                frame[column] = [
                    feature.int2str(int(value)) if value is not None and value >= 0 else None for value in frame[column]
                ]
        if split is not None and "split" not in frame.columns:
            frame["split"] = str(split)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
