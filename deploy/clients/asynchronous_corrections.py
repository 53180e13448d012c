"""Corrections and labels, for the client for asyncio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from typing import Unpack
from uuid import uuid4

import httpx

from core.correction_bodies import RowReport
from core.errors import Unavailable
from core.label_bodies import LabelEvent, LabelEventsAnswer, LabelsAnswer, NewLabels
from core.schemas import CorrectionAnswer
from deploy.clients import correction_calls as calls
from deploy.clients.answers import read
from deploy.clients.calls import Answer, Call
from deploy.clients.correction_calls import ChangeFields, Decision, ExportName, RowFields, SaidFields


class AsynchronousCorrections(ABC):
    """The part of the client that sends many corrections, revises them, exports them and decides about labels."""

    _http: httpx.AsyncClient

    @abstractmethod
    async def _run(self, call: Call[Answer]) -> Answer:
        """Make one call and return what it came to."""

    async def correct_many(
        self, rows: Iterable[RowFields], *, key: str | None = None, new_labels: NewLabels = "refuse"
    ) -> AsyncIterator[RowReport]:
        """Yield what became of each row, in order and counted from 1; bad rows are reported and lose no others.

        Any number of rows may come, from a generator too: a few thousand are in memory at a time. Sent again with the same
        ``key`` and the same rows in the same order, all of them count once.
        """
        key = key or f"python-{uuid4().hex}"
        for before, part in calls.row_parts(rows):
            answer = await self._run(calls.correct_part(part, f"{key}-{before}", new_labels))
            for report in calls.numbered(answer, before).reports:
                yield report

    async def confirm(self, prediction_id: str, *, key: str | None = None, **said: Unpack[SaidFields]) -> CorrectionAnswer:
        """Say that a prediction was right."""
        return await self._run(calls.confirm(prediction_id, said, key))

    async def correction(self, correction_id: str) -> CorrectionAnswer:
        """Return one correction and what has become of it."""
        return await self._run(calls.correction(correction_id))

    async def withdraw_correction(
        self, correction_id: str, *, annotator: str | None = None, why: str | None = None
    ) -> CorrectionAnswer:
        """Take a correction back; later runs do not learn from it."""
        return await self._run(calls.withdraw_correction(correction_id, {"annotator": annotator, "why": why}))

    async def change_correction(
        self,
        correction_id: str,
        label: str,
        *,
        key: str | None = None,
        new_labels: NewLabels = "refuse",
        **said: Unpack[ChangeFields],
    ) -> CorrectionAnswer:
        """Say that ``label`` is right instead, of the same text; the new correction stands in the place of the old one."""
        return await self._run(calls.change_correction(correction_id, {"label": label, **said}, key, new_labels))

    async def labels(self) -> LabelsAnswer:
        """Return how every label stands."""
        return await self._run(calls.labels())

    async def label_events(self, limit: int = 100, before: int | None = None) -> LabelEventsAnswer:
        """Return one page of decisions about labels, newest first."""
        return await self._run(calls.label_events(limit, before))

    async def decide_label(
        self, action: Decision, label: str, into: str | None = None, *, by: str = "python", why: str = "by hand"
    ) -> LabelEvent:
        """Accept or reject a proposal, merge, rename or retire a label; the next run honours it."""
        body = {"action": action, "label": label, "into": into, "by": by, "why": why}
        return await self._run(calls.decide_label(body))

    async def export_corrections(self, written_as: ExportName = "jsonl") -> AsyncIterator[bytes]:
        """Yield the pieces of a file with all corrections there are.

        Raises:
            HoneError: the one the service answered with.
            Unavailable: it does not answer, or the answer broke off: what came is not the whole file.
        """
        query = {"format": written_as}
        try:
            async with self._http.stream("GET", "/v1/corrections/export", params=query) as response:
                if response.is_error:
                    await response.aread()
                    read(response, LabelEvent)
                async for piece in response.aiter_bytes():
                    yield piece
        except httpx.HTTPError as error:
            raise Unavailable(f"the export broke off ({type(error).__name__}); ask for it again") from error
