"""Group commit: writers that would wait for each other share a transaction, so that the disk is waited for once for all."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar, cast

from sqlalchemy import Connection

from core.errors import StoreUnavailable
from feedback.failures import translated

Result = TypeVar("Result")

# Long enough for the disk's part to be small, short enough that the first of a group does not wait for the last for long.
_MOST_WRITES = 256


class _Write(Generic[Result]):
    """One writer's part: what it does, and how that ended."""

    def __init__(self, work: Callable[[Connection], Result]) -> None:
        self.work = work
        self.done = False
        self.error: Exception | None = None
        self.result: Result | None = None


class GroupCommit:
    """Runs writers' work in transactions of ``transaction``, those that came while another was at it together.

    Nobody waits for company: the first to come goes at once, and whoever comes meanwhile is in the next group. Work that fails
    is undone by itself; where the transaction fails, all of its group fail alike.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]], busy_timeout_s: float) -> None:
        self._transaction = transaction
        self._busy_timeout_s = busy_timeout_s
        self._waiting: deque[_Write[object]] = deque()
        self._leading = threading.Lock()

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Return what ``work`` returned, once that is durable; it may be called again only where nothing of it was kept.

        Raises:
            StoreUnavailable: the transaction failed, or the others took longer than ``busy_timeout_s``.
        """
        write: _Write[Result] = _Write(work)
        self._waiting.append(cast("_Write[object]", write))
        if not self._leading.acquire(timeout=self._busy_timeout_s):
            raise self._too_long(cast("_Write[object]", write))
        try:
            # Another may have led the group that this one was in.
            while not write.done:
                self._lead()
        finally:
            self._leading.release()
        if write.error is not None:
            raise write.error
        return cast("Result", write.result)

    def _lead(self) -> None:
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_WRITES))]
        failure: Exception | None = StoreUnavailable(
            "a write to the feedback store was broken off; try again", reason="interrupted"
        )
        try:
            with self._transaction() as connection:
                for write in group:
                    _perform(write, connection, alone=len(group) == 1)
            failure = None
        except StoreUnavailable as error:
            failure = error
        except Exception as error:
            if len(group) > 1:
                raise
            failure = error
        finally:
            for write in group:
                write.done = True
                write.error = write.error or _own(failure)

    def _too_long(self, write: _Write[object]) -> StoreUnavailable:
        try:
            self._waiting.remove(write)
            left = "nothing was written"
        except ValueError:
            left = "it may still be done"
        return StoreUnavailable(
            f"the feedback store was busy for {self._busy_timeout_s:g} s and {left}; try again, with the same idempotency key "
            "where there is one",
            reason="busy",
        )


def _perform(write: _Write[object], connection: Connection, *, alone: bool) -> None:
    if alone:
        write.result = write.work(connection)
        return
    try:
        with translated(), connection.begin_nested():
            write.result = write.work(connection)
    except StoreUnavailable:
        # Not this writer's failure but the database's.
        raise
    except Exception as error:
        write.error = error


def _own(failure: Exception | None) -> Exception | None:
    """Return a copy for one writer: an exception that several threads raise would gather the traces of all of them."""
    return StoreUnavailable(failure.message, **failure.details) if isinstance(failure, StoreUnavailable) else failure
