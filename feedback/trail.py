"""The audit trail: who did what, when. Entries are only ever added, and each holds the hash of the one before.

Whoever alters, removes or inserts an entry has to write all later ones anew; the last hash, noted elsewhere, shows that too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from core.errors import TrailBroken
from core.privacy_bodies import TrailAnswer, TrailEntry, TrailProof
from core.schemas import now
from feedback.database import Database, keep_order
from feedback.privacy_tables import trail

START = "0" * 64
"""What the first entry names as the hash before it."""
_PAGE_ROWS = 1_000


class Trail(Database):
    """The part of the store that remembers what was done."""

    def record(self, actor: str, action: str, target: str = "", details: Mapping[str, Any] | None = None) -> TrailEntry:
        """Return the new entry, on disk; nothing in it may be a user's text or the key of a person.

        Raises:
            StoreUnavailable: nothing was written.
        """
        return self._write(lambda connection: add_entry(connection, actor, action, target, details))

    def trail_entries(self, limit: int = 100, before: int | None = None) -> TrailAnswer:
        """Return up to ``limit`` entries, newest first, older than the one numbered ``before``."""
        query = select(trail).order_by(trail.c.sequence.desc()).limit(limit + 1)
        if before is not None:
            query = query.where(trail.c.sequence < before)
        with self._reading() as connection:
            entries = [_entry(row) for row in connection.execute(query)]
        more = len(entries) > limit
        return TrailAnswer(entries=entries[:limit], next_before=entries[limit - 1].sequence if more else None)

    def verify_trail(self, known_hash: str | None = None) -> TrailProof:
        """Return how long the trail is and its last hash, after every entry was found to be the one that was written.

        ``known_hash`` is a last hash from an earlier time: it has to be among the entries still.

        Raises:
            TrailBroken: an entry was altered, removed or inserted, or the known one is gone.
        """
        last, count, found = START, 0, known_hash in (None, START)
        for row in self._all_entries():
            count += 1
            if row.sequence != count or row.previous != last or row.hash != _hash(row._asdict()):
                raise TrailBroken(
                    f"the trail is whole up to entry {count - 1}; what follows is not what was written", entry=count
                )
            last = row.hash
            found = found or last == known_hash
        if not found:
            raise TrailBroken(f"no entry has the hash that was given; the trail of {count} entries was cut or written anew")
        return TrailProof(entries=count, last_hash=last)

    def _all_entries(self) -> Iterator[Row[tuple[Any, ...]]]:
        after = 0
        while True:
            query = select(trail).where(trail.c.sequence > after).order_by(trail.c.sequence).limit(_PAGE_ROWS)
            with self._reading() as connection:
                rows: Sequence[Row[tuple[Any, ...]]] = connection.execute(query).all()
            yield from rows
            if len(rows) < _PAGE_ROWS:
                return
            after = rows[-1].sequence


def add_entry(
    connection: Connection, actor: str, action: str, target: str = "", details: Mapping[str, Any] | None = None
) -> TrailEntry:
    """Add an entry in the transaction of what it tells of, so that there is neither without the other; return it."""
    keep_order(connection)
    last = connection.execute(select(trail.c.sequence, trail.c.hash).order_by(trail.c.sequence.desc()).limit(1)).one_or_none()
    values: dict[str, Any] = {
        "sequence": last.sequence + 1 if last else 1,
        "at": now(),
        "actor": actor[:200],
        "action": action[:100],
        "target": target[:300],
        "details": json.dumps(dict(details or {}), sort_keys=True, separators=(",", ":")),
        "previous": last.hash if last else START,
    }
    values["hash"] = _hash(values)
    connection.execute(insert(trail), values)
    return TrailEntry.model_validate({**values, "details": dict(details or {})})


def _hash(entry: Mapping[str, Any]) -> str:
    moment: datetime = entry["at"]
    names = ("sequence", "actor", "action", "target", "details", "previous")
    fields = [moment.astimezone(UTC).isoformat(timespec="microseconds"), *(entry[name] for name in names)]
    return hashlib.sha256(json.dumps(fields, separators=(",", ":")).encode()).hexdigest()


def _entry(row: Row[tuple[Any, ...]]) -> TrailEntry:
    return TrailEntry.model_validate({**row._asdict(), "details": json.loads(row.details)})
