"""Merging: what callers hand in while others are being served is served together, so that one wait serves all of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from core.errors import StoreUnavailable

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

# Long enough for the disk's part to be small, short enough that the first of a group does not wait for the last for long.
_MOST_ITEMS = 256


class _Entry(Generic[Item, Outcome]):
    """One caller's item, and how it ended; ``woken`` when it has ended, or when its caller is to serve the next group."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.woken = threading.Event()
        self.done = False
        self.outcome: Outcome | Exception = StoreUnavailable(
            "a write to the feedback store was broken off; try again", reason="interrupted"
        )


class Merging(Generic[Item, Outcome]):
    """Serves items by ``serve``, which takes several and returns what became of each, in order.

    Nobody waits for company: the first to come goes at once, and whoever comes meanwhile is in the next group. Of an outcome
    that is an exception it is raised to the caller whose it is. Where ``serve`` fails as a whole it is asked for one at a time,
    unless the store is away: then all fail alike.
    """

    def __init__(self, serve: Callable[[Sequence[Item]], Sequence[Outcome | Exception]], busy_timeout_s: float) -> None:
        self._serve = serve
        self._busy_timeout_s = busy_timeout_s
        self._waiting: deque[_Entry[Item, Outcome]] = deque()
        self._guard = threading.Lock()
        self._led = False

    def put(self, item: Item) -> Outcome:
        """Return what became of ``item``.

        Raises:
            StoreUnavailable: the store is away, or the others took longer than ``busy_timeout_s``.
        """
        entry: _Entry[Item, Outcome] = _Entry(item)
        with self._guard:
            self._waiting.append(entry)
            leads = not self._led
            self._led = True
        if not leads and not entry.woken.wait(self._busy_timeout_s):
            self._give_up(entry)
        if not entry.done:
            self._lead(entry)
        if isinstance(entry.outcome, Exception):
            raise entry.outcome
        return entry.outcome

    def _lead(self, entry: _Entry[Item, Outcome]) -> None:
        """Serve groups until the own entry was in one, and let the first of those that came meanwhile go on."""
        try:
            while not entry.done:
                self._serve_group()
        finally:
            with self._guard:
                self._led = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].woken.set()

    def _serve_group(self) -> None:
        with self._guard:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_ITEMS))]
        try:
            for entry, outcome in zip(group, self._outcomes([entry.item for entry in group]), strict=True):
                entry.outcome = outcome
        finally:
            for entry in group:
                entry.done = True
                entry.woken.set()

    def _outcomes(self, items: Sequence[Item]) -> Sequence[Outcome | Exception]:
        try:
            return self._serve(items)
        except StoreUnavailable as error:
            # One exception each: one that several threads raise would gather the traces of all of them.
            return [StoreUnavailable(error.message, **error.details) for _ in items]
        except Exception as error:
            if len(items) == 1:
                return [error]
            return [self._outcomes([item])[0] for item in items]

    def _give_up(self, entry: _Entry[Item, Outcome]) -> None:
        with self._guard:
            if entry.woken.is_set():
                # At the last moment.
                return
            began = entry not in self._waiting
            if not began:
                self._waiting.remove(entry)
        left = "it may still be done" if began else "nothing was written"
        raise StoreUnavailable(
            f"the feedback store was busy for {self._busy_timeout_s:g} s and {left}; try again, with the same idempotency key "
            "where there is one",
            reason="busy",
        )
