"""Swapping models without a trace: load and verify off the request path, then replace one reference.

Each request reads :attr:`ModelSlot.current` once, so no answer ever mixes two versions. A version that does not load leaves the
one that serves where it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from core.classifier import Classifier
from core.errors import HoneError, NoModel
from core.metrics import Metrics
from core.registry import Registry
from core.schemas import Source
from serve.detached import run_detached

LOAD_TIMEOUT_S = 300.0
_FIRST_RETRY_S = 5.0
_LAST_RETRY_S = 300.0

_logger = logging.getLogger("hone.serve")

Loader = Callable[[Path], Classifier]


@dataclass(frozen=True, eq=False)
class Loaded:
    """A version that can answer, and the speed of learning it came from."""

    version: str
    classifier: Classifier
    source: Source


@dataclass(frozen=True)
class Refusal:
    """A champion this replica could not take, and why; ``attempts`` counts tries since the alias moved to it."""

    version: str
    reason: str
    attempts: int


class ModelSlot:
    """The one place that says which model answers."""

    def __init__(self) -> None:
        self.current: Loaded | None = None
        self.candidate: str | None = None
        self.refusal: Refusal | None = None

    def require(self) -> Loaded:
        """Return the model that answers.

        Raises:
            NoModel: none is loaded yet.
        """
        if self.current is None:
            why = f"; {self.refusal.version} did not load: {self.refusal.reason}" if self.refusal else ""
            raise NoModel(f"no version serves yet{why}")
        return self.current


class ChampionWatcher:
    """Keeps ``slot`` at the registry's champion; ``load`` reads and verifies a bundle."""

    def __init__(self, slot: ModelSlot, registry: Registry, load: Loader, metrics: Metrics, *, poll_s: float) -> None:
        self._slot = slot
        self._registry = registry
        self._load = load
        self._metrics = metrics
        self._poll_s = poll_s
        self._nudged = asyncio.Event()
        self._retry_at = 0.0
        self._registry_broken = False

    def nudge(self) -> None:
        """Look at the alias now rather than at the next poll."""
        self._nudged.set()

    async def run(self) -> None:
        """Follow the champion alias until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                # Whatever it was, the next look may go better, and without one no version would ever be swapped in again.
                _logger.exception("following the champion failed")
            # Not wait_for: in Python 3.11 that one swallows a cancellation which meets the nudge.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._nudged.wait()
            self._nudged.clear()

    async def look(self) -> None:
        """Look at the alias once and, if it moved, take that version; whatever fails, what serves keeps serving."""
        champion, previous = await self._aliases()
        current = self._slot.current
        if champion is None or (current is not None and current.version == champion):
            self._slot.refusal = None
            return
        refusal = self._slot.refusal
        if refusal is not None and refusal.version == champion and asyncio.get_running_loop().time() < self._retry_at:
            return
        taken = await self._take(champion, "loaded" if current is None else "swapped")
        if not taken and self._slot.current is None and previous is not None:
            # At a start the champion may be the broken one; the version before it once passed the gate.
            await self._take(previous, "fell_back")

    async def _take(self, version: str, outcome: str) -> bool:
        self._slot.candidate = version
        started = perf_counter()
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                loaded = await run_detached(lambda: self._read(version), "hone-load")
        except Exception as error:
            self._refuse(version, _reason(error), keep=outcome == "fell_back")
            return False
        finally:
            self._slot.candidate = None
            self._metrics.observe("hone_load_seconds", perf_counter() - started)
        if outcome != "fell_back" and (await self._aliases())[0] != version:
            # Rolled back while it was loading: it must not see traffic. The next look takes what is champion now.
            self.nudge()
            return True
        self._put(loaded, outcome)
        return True

    def _read(self, version: str) -> Loaded:
        classifier = self._load(self._registry.path(version))
        return Loaded(version, classifier, classifier.manifest.lineage.speed)

    def _put(self, loaded: Loaded, outcome: str) -> None:
        replaced, self._slot.current = self._slot.current, loaded
        if outcome != "fell_back":
            self._slot.refusal = None
        if replaced is not None:
            self._metrics.set("hone_champion_info", 0, version=replaced.version)
        self._metrics.set("hone_champion_info", 1, version=loaded.version)
        self._metrics.count("hone_swaps_total", outcome=outcome)
        _logger.info("%s %s", outcome, loaded.version, extra={"replaced": replaced.version if replaced else None})

    def _refuse(self, version: str, reason: str, *, keep: bool) -> None:
        before = self._slot.refusal
        if keep and before is not None:
            # What the operator must mend is the champion; that its stand-in failed as well is said beside it.
            self._slot.refusal = Refusal(before.version, f"{before.reason}; {version} neither: {reason}", before.attempts)
        else:
            attempts = before.attempts + 1 if before is not None and before.version == version else 1
            self._slot.refusal = Refusal(version, reason, attempts)
            pause_s = min(_FIRST_RETRY_S * 2 ** (attempts - 1), _LAST_RETRY_S)
            self._retry_at = asyncio.get_running_loop().time() + pause_s
        self._metrics.count("hone_swaps_total", outcome="failed")
        _logger.error("%s does not load: %s", version, reason)

    async def _aliases(self) -> tuple[str | None, str | None]:
        """Return champion and previous; where the registry cannot be read, what serves and nothing."""
        try:
            aliases = await asyncio.to_thread(self._registry.aliases)
        except (HoneError, OSError) as error:
            if not self._registry_broken:
                _logger.error("the registry cannot be read: %s", _reason(error))  # noqa: TRY400 - the reason says it all
            self._registry_broken = True
            return (self._slot.current.version if self._slot.current else None), None
        self._registry_broken = False
        return aliases.champion, aliases.previous


def _reason(error: Exception) -> str:
    """Return why, in words that quote no data: only Hone's own messages are known not to."""
    if isinstance(error, HoneError):
        return error.message
    if isinstance(error, TimeoutError):
        return f"it did not load within {LOAD_TIMEOUT_S:g} s"
    return f"{type(error).__name__} while loading"
