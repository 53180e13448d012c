"""Heartbeats: which version each serving replica answers with, and why it would not take another."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import delete, select

from feedback.database import Database, clock, insert_into
from feedback.tables import replicas

ReplicaState = Literal["starting", "loading", "serving", "failed"]

_FORGOTTEN_AFTER = timedelta(days=1)


@dataclass(frozen=True)
class ReplicaReport:
    """What one replica says of itself.

    ``model_version`` is what it answers with; ``candidate_version`` is what it loads (state ``loading``) or could not take
    (state ``failed``, then ``reason`` says why). ``seen_at`` is filled in by the store.
    """

    replica_id: str
    model_version: str | None
    state: ReplicaState
    candidate_version: str | None = None
    reason: str | None = None
    seen_at: datetime | None = None


class Replicas(Database):
    """The part of the store that knows the serving replicas."""

    def report_replica(self, report: ReplicaReport) -> None:
        """Keep ``report`` as this replica's latest, and forget replicas not heard of for a day."""
        with self._writing() as connection:
            moment = clock(connection)
            values = {**asdict(report), "seen_at": moment}
            statement = insert_into(connection, replicas).values(values)
            statement = statement.on_conflict_do_update(index_elements=["replica_id"], set_=values)
            connection.execute(statement)
            connection.execute(delete(replicas).where(replicas.c.seen_at < moment - _FORGOTTEN_AFTER))

    def replicas(self, max_age_s: float = 30.0) -> list[ReplicaReport]:
        """Return the latest report of each replica heard of in the last ``max_age_s`` seconds, by id."""
        with self._reading() as connection:
            moment, age = clock(connection), timedelta(seconds=max_age_s)
            # What was seen later than now was seen before the clock was set back.
            query = (
                select(replicas).where(replicas.c.seen_at.between(moment - age, moment + age)).order_by(replicas.c.replica_id)
            )
            rows = connection.execute(query).all()
        return [ReplicaReport(**row._mapping) for row in rows]

    def forget_replica(self, replica_id: str) -> None:
        """Drop this replica's report; one that shuts down in order says so."""
        with self._writing() as connection:
            connection.execute(delete(replicas).where(replicas.c.replica_id == replica_id))
