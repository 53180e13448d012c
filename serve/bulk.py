"""Taking many corrections in one request: rows are kept while the body arrives, a few hundred to a transaction.

Their reports wait, on disk where they are many, until the body has been read: most clients do not read an answer before they
have sent their request, and would wait for this service while it waits for them.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, cast

from starlette.requests import Request
from starlette.responses import StreamingResponse

from core.errors import BodyTooLarge, HoneError, Unavailable, UnknownLabel, UnknownPrediction
from core.label_bodies import NewLabels
from feedback.bulk import BulkRow, Kept
from feedback.store import Store
from serve.bulk_rows import Line, LineReader, RowChecks, Tally
from serve.correcting import accept_backed, check_key, wait_for
from serve.openapi import NDJSON
from serve.parsing import check_headers
from serve.parts import Parts

MEDIA_TYPES = (NDJSON, "application/jsonl", "application/jsonlines")
_ROWS_AT_ONCE = 500
_IN_MEMORY_BYTES = 1_000_000
_PIECE_BYTES = 65_536


async def take_bulk(request: Request, key: str | None, new_labels: NewLabels, parts: Parts) -> StreamingResponse:
    """Return the reports on all rows, in order, and their sums; every row that is reported as kept is on disk.

    Raises:
        UnsupportedMediaType, MalformedBody, NoModel: nothing was read.
        BodyTooLarge, StoreUnavailable: rows before were kept; ``details`` say how many. With an Idempotency-Key all of it may
            be sent again.
    """
    check_key(key)
    check_headers(request.headers.raw, parts.settings.bulk_max_bytes, MEDIA_TYPES)
    parts.slot.require()
    taking = _Taking(parts, key, propose=new_labels == "propose")
    try:
        with taking.telling_how_far():
            await taking.read(request)
    except BaseException:
        taking.reports.close()
        raise
    return StreamingResponse(_read_back(taking.reports), media_type=NDJSON)


@dataclass
class _Taking:
    """One bulk request under way."""

    parts: Parts
    key: str | None
    propose: bool
    tally: Tally = field(default_factory=Tally)
    # Not anybody's text: only ids, codes and counts.
    reports: IO[bytes] = field(default_factory=lambda: _spool())
    waiting: list[Line] = field(default_factory=list)
    waiting_bytes: int = 0
    patient: bool = True

    async def read(self, request: Request) -> None:
        """Take every row of the body."""
        settings = self.parts.settings
        reader = LineReader(settings.max_body_bytes)
        size = 0
        async for piece in request.stream():
            size += len(piece)
            if size > settings.bulk_max_bytes:
                raise BodyTooLarge(
                    f"the body has more than the {settings.bulk_max_bytes} bytes allowed", allowed=settings.bulk_max_bytes
                )
            for line in reader.feed(piece):
                await self._add(line)
        for line in reader.finish():
            await self._add(line)
        await self._flush()
        self.reports.write(self.tally.summary())

    @contextmanager
    def telling_how_far(self) -> Iterator[None]:
        """Add to an error that ends the request how many rows had been taken."""
        try:
            yield
        except HoneError as error:
            error.details |= self.tally.counts
            raise
        except OSError as error:
            raise Unavailable("there is no room for the reports of this request", **self.tally.counts) from error

    async def _add(self, line: Line) -> None:
        self.waiting.append(line)
        self.waiting_bytes += len(line.content or b"")
        if len(self.waiting) >= _ROWS_AT_ONCE or self.waiting_bytes > self.parts.settings.max_body_bytes:
            await self._flush()

    async def _flush(self) -> None:
        lines, self.waiting, self.waiting_bytes = self.waiting, [], 0
        if not lines:
            return
        rows = await self._read_rows(lines)
        good = [row for row in rows if isinstance(row, BulkRow)]
        kept = iter(await self._keep(good))
        outcomes = [next(kept) if isinstance(row, BulkRow) else row for row in rows]
        for line, outcome in zip(lines, outcomes, strict=True):
            self.reports.write(self.tally.report(line.number, outcome))
            if isinstance(outcome, Kept) and not outcome.repeated:
                self.parts.metrics.count("hone_corrections_total", kind=outcome.answer.kind)
        if any(row.proposes for row in good):
            await accept_backed(self.parts)
        self.parts.memory.nudge()

    async def _read_rows(self, lines: Sequence[Line]) -> list[BulkRow | HoneError]:
        allowed = await self.parts.labels.allowed()
        rows = await asyncio.to_thread(self._check, lines, RowChecks(self.parts.settings, allowed, self.propose, self.key))
        if not any(isinstance(row, UnknownLabel) or (isinstance(row, BulkRow) and row.proposes) for row in rows):
            return rows
        # Somebody may have decided about these labels just now.
        fresh = await self.parts.labels.allowed(fresh=True)
        if fresh.names == allowed.names and fresh.closed == allowed.closed:
            return rows
        return await asyncio.to_thread(self._check, lines, RowChecks(self.parts.settings, fresh, self.propose, self.key))

    @staticmethod
    def _check(lines: Sequence[Line], checks: RowChecks) -> list[BulkRow | HoneError]:
        return [checks.read(line) for line in lines]

    async def _keep(self, rows: list[BulkRow]) -> list[Kept | HoneError]:
        if not rows:
            return []
        outcomes = await self.parts.store.call(Store.add_corrections, rows)
        missing = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, UnknownPrediction)]
        if not missing or not self.patient:
            return outcomes
        # Once in a request: what is on its way arrives within that time, and a file of old ids must not wait for each.
        self.patient = False
        await wait_for(str(rows[missing[0]].request.prediction_id), self.parts)
        again = await self.parts.store.call(Store.add_corrections, [rows[place] for place in missing])
        for place, outcome in zip(missing, again, strict=True):
            outcomes[place] = outcome
        return outcomes


def _spool() -> IO[bytes]:
    # Closed by whoever reads it back, or where the request fails.
    return cast("IO[bytes]", tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES))


async def _read_back(reports: IO[bytes]) -> AsyncIterator[bytes]:
    with reports:
        reports.seek(0)
        while piece := reports.read(_PIECE_BYTES):
            yield piece
