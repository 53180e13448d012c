"""Work on a thread of its own, which nothing waits for when it hangs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def run_detached(work: Callable[[], Result], name: str, then: Callable[[], None] = lambda: None) -> asyncio.Future[Result]:
    """Return the future result of ``work`` on a new daemon thread; ``then`` is called on the loop when the thread is through.

    An executor would keep its worker, and the end of the process, waiting for work that hangs; here it is simply abandoned.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: Exception | None) -> None:
        then()
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type] # None only where work returns it

    def run() -> None:
        result: Result | None = None
        error: Exception | None = None
        try:
            result = work()
        except Exception as caught:
            error = caught
        # The loop may have been closed while the work ran; then nobody waits for the result.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
