"""Leases: one holder at a time, until it stops renewing."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, or_

from feedback.database import Database, clock, insert_into
from feedback.tables import leases


class Leases(Database):
    """The part of the store that says who is at work."""

    def take_lease(self, name: str, holder: str, ttl_s: float) -> bool:
        """Return whether ``holder`` now holds the lease for ``ttl_s`` seconds.

        A free or expired lease is taken, one's own is renewed, somebody else's is left alone. ``holder`` names one process, for
        example by host, process id and a random part: two that use one name count as one.
        """
        with self._writing() as connection:
            moment = clock(connection)
            statement = insert_into(connection, leases).values(
                name=name, holder=holder, expires_at=moment + timedelta(seconds=ttl_s)
            )
            statement = statement.on_conflict_do_update(
                index_elements=["name"],
                set_={"holder": statement.excluded.holder, "expires_at": statement.excluded.expires_at},
                where=or_(leases.c.holder == holder, leases.c.expires_at <= moment),
            )
            return connection.execute(statement.returning(leases.c.name)).first() is not None

    def release_lease(self, name: str, holder: str) -> None:
        """Give the lease up; somebody else's is left alone."""
        with self._writing() as connection:
            connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))
