"""What the replicas answered in the last hours, in slots of time that each of them adds to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select

from feedback.database import Database, clock, insert_into
from feedback.traffic_tables import traffic

SLOT_S = 15
KEPT = timedelta(hours=6)


@dataclass(frozen=True)
class TrafficSlot:
    """What was answered in the ``SLOT_S`` seconds from ``began_at``.

    ``within`` counts texts by the bounds of ``LATENCY_BUCKETS_S``: how many took as long as one of them at most and longer than
    the one before; the last number is of those that took longer than all.
    """

    began_at: datetime
    texts: int
    refused: int
    failed: int
    within: Sequence[int]

    def plus(self, other: TrafficSlot) -> TrafficSlot:
        """Return both as one; it begins when this one does."""
        within = [one + two for one, two in zip(self.within, other.within, strict=True)]
        return TrafficSlot(
            self.began_at, self.texts + other.texts, self.refused + other.refused, self.failed + other.failed, within
        )


class TrafficSlots(Database):
    """The part of the store that remembers the traffic of the last hours."""

    def add_traffic(self, replica_id: str, slots: Sequence[TrafficSlot]) -> None:
        """Keep what a replica answered, and forget what is older than ``KEPT``; a slot that is sent again replaces itself."""
        with self._writing() as connection:
            for slot in slots:
                values = {**asdict(slot), "replica_id": replica_id}
                statement = insert_into(connection, traffic).values(values)
                statement = statement.on_conflict_do_update(index_elements=["began_at", "replica_id"], set_=values)
                connection.execute(statement)
            connection.execute(delete(traffic).where(traffic.c.began_at < clock(connection) - KEPT))

    def traffic_since(self, moment: datetime) -> list[TrafficSlot]:
        """Return what all replicas answered together in the slots that began at ``moment`` or later, oldest first."""
        columns = [column for column in traffic.c if column.name != "replica_id"]
        query = select(*columns).where(traffic.c.began_at >= moment).order_by(traffic.c.began_at)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        found: dict[datetime, TrafficSlot] = {}
        for slot in (TrafficSlot(**row._mapping) for row in rows):
            known = found.get(slot.began_at)
            found[slot.began_at] = slot if known is None else known.plus(slot)
        return list(found.values())
