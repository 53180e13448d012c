"""The processes that a replica started beside itself; a whole run of the suite has other children as well."""

from __future__ import annotations

import psutil

# Python's own, and the database server of other tests.
_OTHERS = ("multiprocessing", "postgres")


def side_processes() -> list[psutil.Process]:
    """Return this process's children, except those that are not a replica's."""
    lines = {child: " ".join(child.cmdline()) for child in psutil.Process().children()}
    return [child for child, line in lines.items() if not any(other in line for other in _OTHERS)]
