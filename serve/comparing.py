"""Two versions on the same texts, off the answer path: in a process of the lowest priority, which never holds traffic up."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.bundle import read_manifest
from core.errors import BundleError, HoneError
from core.metrics import Metrics
from serve.beside import SideProcess, SideProcessEnded
from serve.heap import available_bytes, side_bytes
from serve.probation import Spoken, Tally

_TEXTS_AT_ONCE = 8
_WAITING_TEXTS = 256
# Versions that follow each other at once are not worth a process each.
_SETTLE_S = 1.0

_logger = logging.getLogger("hone.serve")


@dataclass(frozen=True)
class Side:
    """One of two versions that are compared."""

    version: str
    folder: Path


@dataclass(frozen=True)
class SideSettings:
    """How the process beside the replica is run."""

    threads: int
    cache: Path
    timeout_s: float
    memory_reserve_bytes: int


class Comparison:
    """Keeps a ``tally`` of what ``subject`` and ``reference`` make of the texts it is offered; made on an event loop.

    Texts beyond what the process keeps up with are dropped and counted. ``problem`` says why nothing is compared, if so.
    """

    def __init__(self, subject: Side, reference: Side, tally: Tally, metrics: Metrics, settings: SideSettings) -> None:
        self.subject = subject
        self.reference = reference
        self.tally = tally
        self.problem: str | None = None
        self._metrics = metrics
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._texts: deque[str] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._process: SideProcess | None = None
        self._thread = threading.Thread(target=self._work, name="hone-compare", daemon=True)
        self._thread.start()

    def offer(self, texts: Sequence[str]) -> None:
        """Take ``texts`` if there is room and return at once."""
        if self.problem is not None:
            return
        with self._changed:
            taken = texts[: _WAITING_TEXTS - len(self._texts)]
            self._texts.extend(taken)
            self._changed.notify_all()
        if len(taken) < len(texts):
            self._metrics.count("hone_shadow_texts_total", len(texts) - len(taken), outcome="dropped")

    def close(self) -> None:
        """Stop, and end the process; returns at once."""
        with self._changed:
            self._closed = True
            process = self._process
            self._changed.notify_all()
        if process is not None:
            process.kill()

    def _work(self) -> None:
        try:
            if self._is_short_lived():
                return
            self._check_memory()
            with self._started() as process:
                own = self._settings
                process.load(threads=own.threads, cache=own.cache, timeout_s=own.timeout_s)
                while texts := self._next():
                    self._tell(process.ask(texts))
        except (HoneError, OSError, SideProcessEnded) as error:
            if not self._closed:
                reason = error.message if isinstance(error, HoneError) else f"the process that compares {error}"
                _logger.warning("%s and %s are not compared: %s", self.subject.version, self.reference.version, reason)
                self.problem = reason

    def _is_short_lived(self) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, _SETTLE_S)

    def _check_memory(self) -> None:
        bundles = [(side.folder, read_manifest(side.folder)) for side in (self.subject, self.reference)]
        needed, available = side_bytes(bundles), available_bytes()
        if needed + self._settings.memory_reserve_bytes > available:
            raise BundleError(
                f"a comparison takes about {needed / 1e6:.0f} MB, {available / 1e6:.0f} MB are left, "
                f"and {self._settings.memory_reserve_bytes / 1e6:.0f} MB must stay free"
            )

    def _started(self) -> SideProcess:
        with self._changed:
            if self._closed:
                raise SideProcessEnded("is not wanted any more")
            self._process = SideProcess([self.subject.folder, self.reference.folder])
            return self._process

    def _next(self) -> list[str]:
        with self._changed:
            self._changed.wait_for(lambda: self._texts or self._closed)
            if self._closed:
                return []
            return [self._texts.popleft() for _ in range(min(_TEXTS_AT_ONCE, len(self._texts)))]

    def _tell(self, rows: list[list[Spoken | None]]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._count, rows)
        except RuntimeError:
            # The loop is closed, and with it whoever wanted to know.
            self.close()

    def _count(self, rows: list[list[Spoken | None]]) -> None:
        if self._closed:
            return
        for subject, reference in rows:
            outcome = "failed"
            if subject is None:
                self.tally.answer(failed=True)
            elif reference is not None:
                self.tally.compare(subject, reference)
                outcome = "agreed" if subject.label == reference.label else "differed"
            self._metrics.count("hone_shadow_texts_total", outcome=outcome)
        if (ratio := self.tally.agreement_ratio) is not None:
            self._metrics.set("hone_shadow_agreement_ratio", ratio, version=self.subject.version)
