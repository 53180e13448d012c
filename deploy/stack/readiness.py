"""Waiting until the service really answers."""

from __future__ import annotations

import time
from collections.abc import Callable

from pydantic import JsonValue

from core.errors import HoneError, NoModel, StackError, Unavailable
from deploy.client import ServiceClient

_LOOK_EVERY_S = 0.1
# Kept with the prediction, so that nobody takes it for a caller's.
_METADATA: dict[str, JsonValue] = {"origin": "hone up, start check"}


def wait_until_answering(client: ServiceClient, text: str, *, timeout_s: float, check: Callable[[], None]) -> None:
    """Return once ``/readyz`` says yes and ``text`` was predicted; ``check`` runs between looks and may raise.

    Raises:
        StackError: when that takes longer than ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    last: HoneError = NoModel("nothing listens yet")
    while time.monotonic() < deadline:
        check()
        try:
            if client.ready():
                client.predict(text, metadata=_METADATA)
                return
        except Unavailable as error:
            last = error
        time.sleep(_LOOK_EVERY_S)
    raise StackError(f"the service did not answer within {timeout_s:.0f} s ({last.message}); look into the logs of the stack")
