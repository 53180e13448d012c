"""What a piece of work costs: seconds by the wall, and processor seconds of this process and its children."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass


@dataclass
class Spending:
    """Wall and processor seconds of the ``with`` block; others at work on the machine lengthen the first alone."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    def __enter__(self) -> Spending:
        self._wall, self._cpu = time.monotonic(), _cpu_s()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s, self.cpu_s = time.monotonic() - self._wall, _cpu_s() - self._cpu


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
