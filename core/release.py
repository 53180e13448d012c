"""Which release of Hone this is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def release() -> str:
    """Return the installed version, ``"0"`` where Hone runs without having been installed."""
    try:
        return version("hone")
    except PackageNotFoundError:
        return "0"
