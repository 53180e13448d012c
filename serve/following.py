"""Following something that changes elsewhere: look, pause, look again, whatever a look comes to."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

_logger = logging.getLogger("hone.serve")


async def follow(look: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]], complaint: str) -> None:
    """Look again after each pause, until cancelled; a look that fails is logged as ``complaint``.

    Whatever it was, the next one may go better, and without a next look no key would be revoked and no version taken back.
    """
    while True:
        try:
            await look()
        except Exception:
            _logger.exception(complaint)
        await pause()
