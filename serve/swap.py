"""Swapping models without a trace: load and verify off the request path, then replace one reference.

Each request reads its version from the slot once, so no answer ever mixes two versions. A version that does not load leaves the
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
from traceback import clear_frames

from core.classifier import Classifier
from core.errors import BundleError, HoneError
from core.registry import Registry
from serve.detached import run_detached
from serve.heap import give_back
from serve.rollout_book import RolloutBook
from serve.slot import Loaded, ModelSlot, Refusal

_FIRST_RETRY_S = 5.0
_LAST_RETRY_S = 300.0
# A load that hangs cannot be ended, only left alone; so many may hang before no other is begun.
_MOST_HANGING = 2
# How far back a start looks for a version that loads.
_LAST_GOOD = 5

__all__ = ["ChampionWatcher", "Loaded", "ModelSlot", "Pace", "Refusal", "reason_of"]

_logger = logging.getLogger("hone.serve")

Loader = Callable[[Path], Classifier]


@dataclass(frozen=True)
class Pace:
    """How often the alias is looked at, and how long a version may take to load."""

    poll_s: float
    load_timeout_s: float


class ChampionWatcher:
    """Keeps ``slot`` at the registry's champion; ``load`` reads and verifies a bundle."""

    def __init__(self, slot: ModelSlot, registry: Registry, load: Loader, book: RolloutBook, pace: Pace) -> None:
        self._slot = slot
        self._registry = registry
        self._load = load
        self._book = book
        self._metrics = book.metrics
        self._pace = pace
        self._loads = 0
        self._nudged = asyncio.Event()
        self._looked = asyncio.Event()
        self._retry_at = 0.0
        self._registry_broken = False

    def nudge(self) -> None:
        """Look at the alias now rather than at the next poll."""
        self._nudged.set()

    async def first_look(self, timeout_s: float) -> None:
        """Return when the champion was taken, or could not be, or after ``timeout_s``: others answer as long as this waits."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._looked.wait()

    async def run(self) -> None:
        """Follow the champion alias until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                # Whatever it was, the next look may go better, and without one no version would ever be swapped in again.
                _logger.exception("following the champion failed")
            self._looked.set()
            # Not wait_for: in Python 3.11 that one swallows a cancellation which meets the nudge.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.poll_s):
                    await self._nudged.wait()
            self._nudged.clear()

    async def look(self) -> None:
        """Look at the alias once and, if it moved, take that version; whatever fails, what serves keeps serving."""
        champion = await self._champion()
        current = self._slot.current
        if champion is None or (current is not None and current.version == champion):
            self._slot.refusal = None
            return
        refusal = self._slot.refusal
        if refusal is not None and refusal.version == champion and asyncio.get_running_loop().time() < self._retry_at:
            return
        taken = await self._take(champion, "loaded" if current is None else "swapped")
        if not taken and self._slot.current is None:
            # At a start the champion may be the broken one; those before it once passed the gate.
            for version in await asyncio.to_thread(self._last_good, champion):
                if await self._take(version, "fell_back"):
                    break

    async def load(self, version: str) -> Loaded:
        """Return ``version``, read and verified on a thread of its own, or as it is in memory already.

        Raises:
            BundleError: it cannot be used, did not load in time, or too many loads hang already.
        """
        held = self._slot.held(version)
        if held is not None:
            return held
        if self._loads > _MOST_HANGING:
            raise BundleError(f"{self._loads} loads hang already; this replica must be started anew to try another")
        started = perf_counter()
        self._loads += 1
        try:
            async with asyncio.timeout(self._pace.load_timeout_s):
                return await run_detached(lambda: self._read(version), "hone-load", self._loaded)
        except TimeoutError:
            raise BundleError(f"it did not load within {self._pace.load_timeout_s:g} s") from None
        finally:
            self._metrics.observe("hone_load_seconds", perf_counter() - started)

    def _loaded(self) -> None:
        self._loads -= 1

    async def _take(self, version: str, outcome: str) -> bool:
        self._slot.candidate = version
        started = perf_counter()
        failure: str | None = None
        try:
            loaded = await self.load(version)
        except Exception as error:
            failure = reason_of(error)
        finally:
            self._slot.candidate = None
        if failure is not None:
            # Only now: nobody shall see a version that has failed and is still being loaded.
            await self._refuse(version, failure, keep=outcome == "fell_back")
            return False
        if outcome != "fell_back" and await self._champion() != version:
            # Rolled back while it was loading: it must not see traffic. The next look takes what is champion now.
            self.nudge()
            return True
        self._put(loaded, outcome, perf_counter() - started)
        await self._book.note(version, "fell_back" if outcome == "fell_back" else "serving")
        # What the versions before have left; the allocator would keep it, and a little more at every swap.
        await asyncio.to_thread(give_back)
        return True

    def _read(self, version: str) -> Loaded:
        try:
            folder = self._registry.path(version)
            try:
                classifier = self._load(folder)
            except BundleError:
                # This node's copy alone may be damaged.
                if not self._registry.renew(version):
                    raise
                classifier = self._load(self._registry.path(version))
        except Exception as error:
            _forget_frames(error)
            give_back()
            raise
        return Loaded(version, classifier, classifier.manifest.lineage.speed)

    def _put(self, loaded: Loaded, outcome: str, took_s: float) -> None:
        slot = self._slot
        replaced, slot.current = slot.current, loaded
        # Whoever watches the new version decides how long the one before is kept; the one that was taken back is not.
        slot.backup = replaced if slot.backup is not loaded else None
        if outcome != "fell_back":
            slot.refusal = None
        if replaced is not None:
            self._metrics.set("hone_champion_info", 0, version=replaced.version)
        self._metrics.set("hone_champion_info", 1, version=loaded.version)
        accuracy = loaded.classifier.manifest.metrics.get("accuracy")
        if accuracy is not None:
            self._metrics.set("hone_holdout_accuracy_ratio", accuracy, version=loaded.version)
        self._metrics.count("hone_swaps_total", outcome=outcome)
        facts = {"replaced": replaced.version if replaced else None, "took_s": round(took_s, 4)}
        _logger.info("%s %s", outcome, loaded.version, extra=facts)

    async def _refuse(self, version: str, reason: str, *, keep: bool) -> None:
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
        await self._book.note(version, "failed", reason)

    def _last_good(self, champion: str) -> list[str]:
        """Return the versions that were champion before ``champion``, the latest first."""
        try:
            moves = self._registry.history()
            aliases, known = self._registry.aliases(), set(self._registry.versions())
        except (HoneError, OSError):
            return []
        served = [move.version for move in reversed(moves) if move.action in ("promote", "rollback")]
        found = dict.fromkeys(version for version in (aliases.previous, *served) if version and version != champion)
        return [version for version in found if version in known][:_LAST_GOOD]

    async def _champion(self) -> str | None:
        """Return the champion; where the registry cannot be read, what serves."""
        try:
            aliases = await asyncio.to_thread(self._registry.look)
        except (HoneError, OSError) as error:
            if not self._registry_broken:
                _logger.error("the registry cannot be read: %s", reason_of(error))  # noqa: TRY400 - the reason says it all
            self._registry_broken = True
            return self._slot.current.version if self._slot.current else None
        self._registry_broken = False
        return aliases.champion


def reason_of(error: Exception) -> str:
    """Return why, in words that quote no data: only Hone's own messages are known not to."""
    if isinstance(error, HoneError):
        return error.message
    return f"{type(error).__name__} while loading"


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what was read of a candidate, which the traceback would keep until the garbage collector comes by."""
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
