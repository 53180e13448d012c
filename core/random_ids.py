"""Random names without a call of the system for each of them.

``os.urandom`` lets go of Python's lock while it asks the kernel, and whoever waits for the lock takes it: the thread that
answers requests then stands still while another computes. So the kernel is asked for many at once.
"""

from __future__ import annotations

import os
from threading import Lock

_BLOCK_BYTES = 4_096


class RandomHex:
    """Hexadecimal digits from the kernel's random numbers, each given out once; for any number of threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._digits = ""
        self._place = 0
        # A child process would give out what its parent does.
        os.register_at_fork(after_in_child=self._forget)

    def __call__(self, length: int) -> str:
        """Return ``length`` digits.

        >>> len(RandomHex()(32))
        32
        """
        with self._lock:
            end = self._place + length
            if end > len(self._digits):
                self._digits, self._place, end = os.urandom(max(_BLOCK_BYTES, length)).hex(), 0, length
            digits = self._digits[self._place : end]
            self._place = end
            return digits

    def _forget(self) -> None:
        self._lock = Lock()
        self._digits, self._place = "", 0


random_hex = RandomHex()
"""Of this process."""
