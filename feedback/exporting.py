"""Corrections as rows for other programs, and the formats they are written in, piece by piece."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select

from feedback.database import Database
from feedback.labels import read_book
from feedback.tables import corrections, withdrawals

ExportFormat = Literal["csv", "jsonl", "parquet"]

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("correction_id", "kind", "text", "label", "current_label", "predicted_label")]
    + [(name, pa.string()) for name in ("prediction_id", "model_version", "annotator")]
    + [("confidence", pa.float64()), ("metadata", pa.string()), ("created_at", pa.timestamp("us", tz="UTC"))]
    + [("withdrawn", pa.bool_()), ("replaced_by", pa.string())]
)
"""Columns of an export. ``label`` is what was said; ``current_label`` what it stands for now, null where it teaches nothing."""

COLUMNS: Sequence[str] = tuple(SCHEMA.names)

Row = Mapping[str, Any]


class Exports(Database):
    """The part of the store that hands out everything people said, a page at a time."""

    def export_page(self, after_sequence: int, up_to_sequence: int, limit: int) -> tuple[list[Row], int]:
        """Return up to ``limit`` corrections after ``after_sequence``, oldest first, and the last one's sequence number.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        query = (
            select(corrections, withdrawals.c.sequence.label("withdrawal"), withdrawals.c.replaced_by)
            .join(withdrawals, withdrawals.c.sequence == corrections.c.sequence, isouter=True)
            .where(corrections.c.sequence > after_sequence, corrections.c.sequence <= up_to_sequence)
            .order_by(corrections.c.sequence)
            .limit(limit)
        )
        with self._reading() as connection:
            book = read_book(connection)
            found = connection.execute(query).all()
        rows: list[Row] = [
            {
                **{name: row._mapping[name] for name in COLUMNS if name not in ("current_label", "withdrawn")},
                "current_label": None if row.label in book.silent else book.now(row.label),
                "withdrawn": row.withdrawal is not None,
            }
            for row in found
        ]
        return rows, found[-1].sequence if found else up_to_sequence


class RowWriter(Protocol):
    """Turns rows into the bytes of a file; what all calls return, in order, is the file."""

    def write(self, rows: Sequence[Row]) -> bytes:
        """Return what ``rows`` add to the file."""
        ...

    def finish(self) -> bytes:
        """Return the end of the file."""
        ...


class CsvRows:
    """Comma-separated, UTF-8, a header first; empty cells are nulls."""

    def __init__(self) -> None:
        self._started = False

    def write(self, rows: Sequence[Row]) -> bytes:
        """Return lines."""
        sink = io.StringIO(newline="")
        writer = csv.writer(sink)
        if not self._started:
            writer.writerow(COLUMNS)
            self._started = True
        writer.writerows([_cell(row[name]) for name in COLUMNS] for row in rows)
        return sink.getvalue().encode()

    def finish(self) -> bytes:
        """Return the header where there was no row."""
        return b"" if self._started else self.write([])


class JsonRows:
    """One JSON object a line."""

    def write(self, rows: Sequence[Row]) -> bytes:
        """Return lines."""
        lines = [json.dumps({name: row[name] for name in COLUMNS}, ensure_ascii=False, default=_moment) for row in rows]
        return "".join(f"{line}\n" for line in lines).encode()

    def finish(self) -> bytes:
        """Return nothing."""
        return b""


class ParquetRows:
    """Parquet, a row group for each call."""

    def __init__(self) -> None:
        self._sink = _Pieces()
        self._writer = pq.ParquetWriter(pa.PythonFile(self._sink, mode="w"), SCHEMA, compression="zstd")

    def write(self, rows: Sequence[Row]) -> bytes:
        """Return a row group."""
        if rows:
            self._writer.write_table(as_table(rows))
        return self._sink.take()

    def finish(self) -> bytes:
        """Return the footer."""
        self._writer.close()
        return self._sink.take()


def as_table(rows: Sequence[Row]) -> pa.Table:
    """Return rows as an Arrow table of :data:`SCHEMA`; metadata is JSON text."""
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    columns["metadata"] = [None if value is None else _json(value) for value in columns["metadata"]]
    return pa.table(columns, schema=SCHEMA)


WRITERS: Mapping[ExportFormat, type[CsvRows] | type[JsonRows] | type[ParquetRows]] = {
    "csv": CsvRows,
    "jsonl": JsonRows,
    "parquet": ParquetRows,
}


class _Pieces(io.RawIOBase):
    """A file that is only written to, and whose bytes are taken away as they come."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        return len(piece)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return _json(value) if isinstance(value, dict) else value


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _moment(value: object) -> str:
    return cast("datetime", value).isoformat()
