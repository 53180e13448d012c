"""Group commit: writers that would wait for each other share a transaction, so that the disk is waited for once for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from core.errors import StoreUnavailable
from feedback.failures import translated
from feedback.merging import Merging

Result = TypeVar("Result")


class GroupCommit:
    """Runs writers' work in transactions of ``transaction``, those that came while another was at it together.

    Work that fails is undone by itself; where the transaction fails, all of its group fail alike.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]], busy_timeout_s: float) -> None:
        self._transaction = transaction
        self._merging: Merging[Callable[[Connection], Any], Any] = Merging(self._commit, busy_timeout_s)

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Return what ``work`` returned, once that is durable; it may be called again where nothing of it was kept.

        Raises:
            StoreUnavailable: the transaction failed, or the others took longer than ``busy_timeout_s``.
        """
        return cast("Result", self._merging.put(work))

    def _commit(self, group: Sequence[Callable[[Connection], Any]]) -> Sequence[Any]:
        with self._transaction() as connection:
            if len(group) == 1:
                return [group[0](connection)]
            return [_perform(work, connection) for work in group]


def _perform(work: Callable[[Connection], Any], connection: Connection) -> Any:
    try:
        with translated(), connection.begin_nested():
            return work(connection)
    except StoreUnavailable:
        # Not this writer's failure but the database's.
        raise
    except Exception as error:
        return error
