"""Telling a person what is kept of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from sqlalchemy import Table, select

from feedback.database import Database
from feedback.erasures import check_secret
from feedback.tables import corrections, predictions
from feedback.trail import add_entry

_PAGE_ROWS = 500
_ORDER = {"prediction": (predictions, "prediction_id"), "correction": (corrections, "sequence")}


class SubjectExports(Database):
    """The part of the store that tells what it keeps of one person."""

    def begin_subject_export(self, subject: str, by: str) -> None:
        """Note in the trail that somebody asked, and return where the person can be found by this pseudonym.

        Raises:
            SubjectsDamaged: subjects were kept under another secret.
        """
        with self._writing() as connection:
            check_secret(connection, subject.partition(".")[0])
            add_entry(connection, by, "export subject")

    def subject_page(self, kind: str, subject: str, after: Any = None) -> tuple[list[dict[str, Any]], Any]:
        """Return some of the person's rows of ``kind``, and what to pass as ``after`` for more, None on the last page."""
        table, name = _ORDER[kind]
        query = select(table).where(table.c.subject == subject).order_by(table.c[name]).limit(_PAGE_ROWS)
        if after is not None:
            query = query.where(table.c[name] > after)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return [_told(kind, table, row._asdict()) for row in rows], rows[-1]._asdict()[name] if len(
            rows
        ) == _PAGE_ROWS else None

    def subject_lines(self, subject: str) -> Iterator[dict[str, Any]]:
        """Yield all that is kept of a person."""
        for kind in _ORDER:
            after: Any = None
            while True:
                rows, after = self.subject_page(kind, subject, after)
                yield from rows
                if after is None:
                    break


async def export_lines(call: Callable[..., Awaitable[Any]], subject: str) -> AsyncIterator[bytes]:
    """Yield the lines of :meth:`SubjectExports.subject_lines`, reading page by page through ``call``."""
    for kind in _ORDER:
        after: Any = None
        while True:
            rows, after = await call(SubjectExports.subject_page, kind, subject, after)
            for row in rows:
                yield json.dumps(row, ensure_ascii=False).encode() + b"\n"
            if after is None:
                break


def _told(kind: str, table: Table, row: dict[str, Any]) -> dict[str, Any]:
    # The pseudonym is ours to find them by, and tells them nothing.
    kept = {column.name: row[column.name] for column in table.columns if column.name not in ("subject", "sequence")}
    return {"record": kind, **{name: value.isoformat() if name == "created_at" else value for name, value in kept.items()}}
