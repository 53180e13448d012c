"""The feedback store as the event loop may use it: in threads, bounded in number and time.

A store that is down or hangs costs its own callers an error; it never holds up a prediction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Concatenate, ParamSpec, TypeVar

from core.errors import HoneError, StoreUnavailable
from core.metrics import Metrics
from feedback.store import Store
from serve.detached import run_detached

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_CALLS_AT_ONCE = 8


class StoreCalls:
    """Runs methods of ``store`` for ``timeout_s`` seconds at most, a few at a time; made and used on one event loop."""

    def __init__(self, store: Store, metrics: Metrics | None = None, *, timeout_s: float = 6.0) -> None:
        self._store = store
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._free = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def call(
        self, method: Callable[Concatenate[Store, Arguments], Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Return ``method(store, …)``, e.g. ``call(Store.run, run_id)``.

        Raises:
            StoreUnavailable: it is down, or did not answer in time; what was asked of it may be done all the same.
        """
        started = perf_counter()
        failed = True
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._free.acquire()
                # Given back when the thread ends, not when its caller gives up: hanging calls must not pile up.
                answer = await run_detached(lambda: method(self._store, *args, **kwargs), "hone-store", self._free.release)
                failed = False
                return answer
        except HoneError as error:
            # What the store refuses is an answer of it.
            failed = isinstance(error, StoreUnavailable)
            raise
        except TimeoutError:
            raise StoreUnavailable(
                f"the feedback store did not answer within {self._timeout_s:g} s; what was asked of it may still be done. "
                "Send it again, with the same Idempotency-Key where there is one"
            ) from None
        finally:
            if self._metrics is not None:
                self._metrics.observe("hone_store_seconds", perf_counter() - started, call=method.__name__)
                self._metrics.count("hone_store_failures_total", int(failed))

    def close(self) -> None:
        """Give the store's connections back."""
        self._store.close()
