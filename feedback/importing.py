"""Files of corrections as rows, one at a time, however long the file is.

A column ``text`` or ``prediction_id`` and a column ``label`` are needed; ``annotator``, ``confidence``, ``metadata``, ``key``
are taken where they are. In a file that was exported each row's key is its correction's id, so that it is imported once, and
withdrawn ones are left out.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import DataError

_TAKEN = ("text", "prediction_id", "label", "annotator", "confidence", "metadata", "key")
_ROWS_AT_ONCE = 2_000
_LONGEST_CELL = 10_000_000

Record = Mapping[str, Any]


def read_corrections(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the file's rows as fields of a bulk request, in order.

    ``path`` is CSV, TSV, JSON lines, Parquet, or a folder that Hugging Face ``datasets`` saved, of one split or several.

    Raises:
        DataError: it is absent, of another format, broken, or lacks a column; the message names the line, never its text.
    """
    for number, record in enumerate(_records(path), 1):
        if number == 1:
            _check_columns(path, record)
        if str(record.get("withdrawn")).lower() != "true":
            yield _row(path, number, record)


def _records(path: Path) -> Iterator[Record]:
    if not path.exists():
        raise DataError(f"there is no file {path}")
    try:
        yield from _reader(path)(path)
    except (UnicodeDecodeError, csv.Error, ValueError, OSError, pa.ArrowException) as error:
        # Not chained: the original may quote a row.
        raise DataError(f"{path.name} cannot be read as {path.suffix or 'a data set folder'}: {type(error).__name__}") from None


def _reader(path: Path) -> Callable[[Path], Iterator[Record]]:
    if path.is_dir():
        return _hugging_face
    readers = {".csv": _csv, ".tsv": _tsv, ".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path.name} has the ending {path.suffix or 'none'}; read are {', '.join(readers)}, and folders that "
            "Hugging Face datasets saved"
        )
    return reader


def _csv(path: Path) -> Iterator[Record]:
    return _separated(path, ",")


def _tsv(path: Path) -> Iterator[Record]:
    return _separated(path, "\t")


def _separated(path: Path, separator: str) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, record in enumerate(csv.DictReader(file, delimiter=separator, restkey="", strict=True), 1):
            if "" in record:
                raise DataError(f"{path.name} has more cells than its header in row {number} below it; quote such texts")
            yield {name: value or None for name, value in record.items()}


def _json_lines(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError:
                raise DataError(f"{path.name} has no JSON in line {number}") from None
            if not isinstance(record, dict):
                raise DataError(f"{path.name} has no JSON object in line {number}")
            yield record


def _parquet(path: Path) -> Iterator[Record]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            yield from batch.to_pylist()


def _hugging_face(path: Path) -> Iterator[Record]:
    # Imported here: it takes seconds, and only this format needs it.
    import datasets

    loaded = datasets.load_from_disk(str(path))
    for part in loaded.values() if isinstance(loaded, dict) else [loaded]:
        classes = {name: feature for name, feature in part.features.items() if isinstance(feature, datasets.ClassLabel)}
        for record in part:
            named = {name: feature.int2str(record[name]) for name, feature in classes.items() if (record[name] or 0) >= 0}
            yield {**record, **named}


def _check_columns(path: Path, record: Record) -> None:
    if "label" not in record or not ("text" in record or "prediction_id" in record):
        found = ", ".join(sorted(str(name)[:40] for name in record)[:20])
        raise DataError(f"{path.name} needs a column label, and text or prediction_id; it has: {found}")


def _row(path: Path, number: int, record: Record) -> dict[str, Any]:
    row = {name: record[name] for name in _TAKEN if record.get(name) is not None}
    if "text" in row:
        # The prediction may be one of another store; the text says what it was.
        row.pop("prediction_id", None)
    if "key" not in row and record.get("correction_id"):
        row["key"] = f"import:{record['correction_id']}"
    try:
        if "confidence" in row:
            row["confidence"] = float(row["confidence"])
        if isinstance(row.get("metadata"), str):
            row["metadata"] = json.loads(row["metadata"])
    except ValueError:
        raise DataError(f"{path.name} has a confidence or metadata that cannot be read in row {number}") from None
    if not math.isfinite(row.get("confidence", 0.0)):
        del row["confidence"]
    return row
