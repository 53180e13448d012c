"""Waiting for a store that hangs, for so long and no longer."""

from __future__ import annotations

import threading
from collections.abc import Callable

from core.errors import StoreUnavailable


class Patience:
    """Waits ``timeout_s`` for work on a store, whatever the work waits for itself. For one thread.

    Work that takes longer is left to go on behind the caller's back, so it has to be of a kind that may be done twice.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._late: threading.Thread | None = None

    def wait_for(self, work: Callable[[], None]) -> None:
        """Return when ``work`` is done, or raise what it raised.

        Raises:
            StoreUnavailable: it takes too long, or work from before still goes on.
        """
        if self._late is not None and self._late.is_alive():
            raise self._hangs()
        errors: list[Exception] = []

        def attempt() -> None:
            try:
                work()
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=attempt, name="hone-store-write", daemon=True)
        thread.start()
        thread.join(self._timeout_s)
        if thread.is_alive():
            self._late = thread
            raise self._hangs()
        if errors:
            raise errors[0]

    def _hangs(self) -> StoreUnavailable:
        return StoreUnavailable(f"the feedback store did not answer within {self._timeout_s:g} s", reason="timeout")
