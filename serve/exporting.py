"""Exports as streams: a page of the store at a time, so that neither side holds more than that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from starlette.responses import StreamingResponse

from feedback.exporting import WRITERS, ExportFormat
from feedback.store import Store
from serve.openapi import NDJSON
from serve.parts import Parts

_ROWS_AT_ONCE = 2_000
_MEDIA_TYPES: Mapping[ExportFormat, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": NDJSON,
    "parquet": "application/vnd.apache.parquet",
}


async def export(written_as: ExportFormat, parts: Parts) -> StreamingResponse:
    """Return all corrections there are now, as a stream.

    Raises:
        StoreUnavailable: the store does not answer; once the answer has begun, it breaks off instead.
    """
    last = await parts.store.call(Store.last_sequence)
    headers = {"content-disposition": f'attachment; filename="corrections.{written_as}"'}
    return StreamingResponse(_pieces(written_as, last, parts), media_type=_MEDIA_TYPES[written_as], headers=headers)


async def _pieces(written_as: ExportFormat, last: int, parts: Parts) -> AsyncIterator[bytes]:
    writer = WRITERS[written_as]()
    sequence = 0
    while sequence < last:
        rows, sequence = await parts.store.call(Store.export_page, sequence, last, _ROWS_AT_ONCE)
        yield await asyncio.to_thread(writer.write, rows)
    yield await asyncio.to_thread(writer.finish)
