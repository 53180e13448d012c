"""The processes that a replica started beside itself; a whole run of the suite has other children as well."""

from __future__ import annotations

import psutil

_OTHERS = "multiprocessing"


def side_processes() -> list[psutil.Process]:
    """Return this process's children, except those that Python's multiprocessing keeps for itself."""
    return [child for child in psutil.Process().children() if _OTHERS not in " ".join(child.cmdline())]
