"""What a stack needs to know of API keys when it starts."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from core.keys import KeyRing
from core.schemas import now
from core.settings import Settings

# Longer than a start may take; a stack that is killed meanwhile leaves a key that ends by itself.
_VALID_FOR = timedelta(minutes=10)


def missing_keys(settings: Settings) -> str | None:
    """Return a sentence where requests take an API key and nobody has one; None otherwise.

    Raises:
        KeysDamaged: the file of keys cannot be read.
    """
    if not settings.authenticated or any(key.valid(now()) for key in KeyRing(settings.home.keys).listed()):
        return None
    return (
        "requests take an API key and there is none yet; make one, also while it runs: "
        "hone keys create --role operate --name YOUR_NAME"
    )


@contextmanager
def start_key(settings: Settings) -> Iterator[Settings]:
    """Give the settings with which the start may ask its own service: with a key for it alone, where requests take one."""
    if not settings.authenticated:
        yield settings
        return
    ring = KeyRing(settings.home.keys)
    key, secret = ring.create(f"start-{secrets.token_hex(4)}", "predict", expires_at=now() + _VALID_FOR)
    try:
        yield settings.model_copy(update={"api_key": secret})
    finally:
        ring.forget(key.key_id)
