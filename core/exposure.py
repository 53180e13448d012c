"""Whether other machines could use the service without having been let in on purpose."""

from __future__ import annotations

from core.errors import Exposed
from core.settings import Settings


def check_exposure(settings: Settings) -> None:
    """Return unless the service would answer other machines without a key and nobody has said that it may.

    Raises:
        Exposed: saying what to set.
    """
    if settings.authenticated or settings.on_loopback or settings.allow_unauthenticated:
        return
    raise Exposed(
        f"HONE_HOST is {settings.host} and HONE_AUTH is off, so whoever reaches this machine could ask, correct and promote; "
        "unset HONE_AUTH to have requests take an API key, or set HONE_ALLOW_UNAUTHENTICATED=true if that is what you want"
    )
