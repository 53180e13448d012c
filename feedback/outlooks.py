"""What the learner says of its next run, for everybody who asks: one row, written anew."""

from __future__ import annotations

from sqlalchemy import select

from core.schemas import Outlook
from feedback.database import Database, insert_into
from feedback.tables import outlooks

_LEARNER = "learner"


class Outlooks(Database):
    """The part of the store that says when learning goes on."""

    def set_outlook(self, outlook: Outlook) -> None:
        """Keep what the learner foresees; what it said before is gone."""
        with self._writing() as connection:
            statement = insert_into(connection, outlooks).values(name=_LEARNER, outlook=outlook.model_dump(mode="json"))
            changed = {"outlook": statement.excluded.outlook}
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changed))

    def outlook(self) -> Outlook | None:
        """Return what a learner said last, None before any did."""
        with self._reading() as connection:
            found = connection.execute(select(outlooks.c.outlook).where(outlooks.c.name == _LEARNER)).scalar_one_or_none()
        return None if found is None else Outlook.model_validate(found)
