"""Which labels people may say, as the champion and the decisions about labels stand."""

from __future__ import annotations

import asyncio

from core.label_book import AllowedLabels, LabelBook
from feedback.store import Store
from serve.slot import ModelSlot
from serve.store_calls import StoreCalls

# A decision that another replica took is noticed after so long; a label that would be refused is looked up anew in any case.
_KEPT_S = 1.0


class LabelDoor:
    """Reads the decisions about labels at most once a second; made and used on one event loop."""

    def __init__(self, slot: ModelSlot, store: StoreCalls) -> None:
        self._slot = slot
        self._store = store
        self._book = LabelBook()
        self._read_at = float("-inf")
        self._allowed: tuple[LabelBook, tuple[str, ...], AllowedLabels] | None = None

    async def check(self, label: str, *, propose: bool) -> bool:
        """Return whether ``label`` is a proposal, which it can be only where ``propose`` says so.

        Raises:
            NoModel: there are no labels yet.
            UnknownLabel: it is not known, or not any more, with the nearest known ones.
            InputError: it is proposed and no name a label can have.
            StoreUnavailable: the decisions cannot be read.
        """
        if label in (await self.allowed()).names:
            return False
        return (await self.allowed(fresh=True)).check(label, propose=propose)

    async def allowed(self, *, fresh: bool = False) -> AllowedLabels:
        """Return which labels may be said; ``fresh`` looks at decisions of this very moment.

        Raises:
            NoModel, StoreUnavailable: as in :meth:`check`.
        """
        known = self._slot.require().classifier.labels.names
        moment = asyncio.get_running_loop().time()
        if fresh or moment - self._read_at > _KEPT_S:
            self._book = await self._store.call(Store.label_book)
            self._read_at = moment
        if self._allowed is None or self._allowed[0] is not self._book or self._allowed[1] != known:
            self._allowed = self._book, known, self._book.allowed(known)
        return self._allowed[2]
