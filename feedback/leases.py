"""Leases: one holder at a time, until it stops renewing."""

from __future__ import annotations

from datetime import datetime, timedelta
from time import monotonic

from sqlalchemy import ColumnElement, Connection, delete, false, or_, select

from core.discretion import AS_SENT, Discretion
from feedback.database import Database, clock, insert_into
from feedback.tables import leases

LEARNER = "learner"
"""The lease of the one learner."""


class Leases(Database):
    """The part of the store that says who is at work."""

    def __init__(self, url: str, *, busy_timeout_s: float = 5.0, discretion: Discretion = AS_SENT) -> None:
        super().__init__(url, busy_timeout_s=busy_timeout_s, discretion=discretion)
        # Leases that run for too long, each as it was first seen and when that was.
        self._ahead: dict[str, tuple[tuple[object, ...], float]] = {}

    def take_lease(self, name: str, holder: str, ttl_s: float) -> bool:
        """Return whether ``holder`` now holds the lease for ``ttl_s`` seconds.

        A free or expired lease is taken, one's own is renewed, somebody else's is left alone. ``holder`` names one process, for
        example by host, process id and a random part: two that use one name count as one.

        One that runs for longer than ``ttl_s`` was given before the clock was set back; once it has not been renewed for
        ``ttl_s`` by this process's own clock, it counts as expired.
        """
        with self._writing() as connection:
            moment = clock(connection)
            statement = insert_into(connection, leases).values(
                name=name, holder=holder, expires_at=moment + timedelta(seconds=ttl_s)
            )
            statement = statement.on_conflict_do_update(
                index_elements=["name"],
                set_={"holder": statement.excluded.holder, "expires_at": statement.excluded.expires_at},
                where=or_(
                    leases.c.holder == holder, leases.c.expires_at <= moment, self._stale(connection, name, moment, ttl_s)
                ),
            )
            return connection.execute(statement.returning(leases.c.name)).first() is not None

    def lease_is_held(self, name: str) -> bool:
        """Return whether somebody holds the lease now."""
        with self._reading() as connection:
            query = select(leases.c.holder).where(leases.c.name == name, leases.c.expires_at > clock(connection))
            return connection.execute(query).first() is not None

    def release_lease(self, name: str, holder: str) -> None:
        """Give the lease up; somebody else's is left alone."""
        with self._writing() as connection:
            connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))

    def _stale(self, connection: Connection, name: str, moment: datetime, ttl_s: float) -> ColumnElement[bool]:
        """Return the condition under which the lease is one that a clock which ran ahead gave to somebody who is gone."""
        row = connection.execute(select(leases.c.holder, leases.c.expires_at).where(leases.c.name == name)).one_or_none()
        if row is None or row.expires_at <= moment + timedelta(seconds=ttl_s):
            self._ahead.pop(name, None)
            return false()
        seen, since = self._ahead.get(name, ((), 0.0))
        if seen != tuple(row):
            since = monotonic()
            self._ahead[name] = tuple(row), since
        return leases.c.expires_at == row.expires_at if monotonic() - since >= ttl_s else false()
