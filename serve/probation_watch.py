"""Watches a version that was promoted lately, and takes it back when it does worse than the one before, beyond doubt."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from functools import partial

from core.errors import HoneError
from core.registry import Move, Registry
from core.schemas import now
from core.settings import Settings
from serve.comparing import Comparison, Side, SideSettings
from serve.following import follow
from serve.heap import give_back
from serve.probation import PROBATION, Finding, Limits, Tally, overruled
from serve.rollout_book import RolloutBook
from serve.slot import Loaded, ModelSlot, Probation
from serve.swap import ChampionWatcher

# The probation of a version begins with the latest moves; nothing older matters.
_MOVES = 200

_logger = logging.getLogger("hone.serve")


def limits_of(settings: Settings) -> Limits:
    """Return the limits in ``settings``; the replicas share alpha, because each of them may take a version back."""
    return Limits(
        min_texts=settings.probation_min_texts,
        alpha=settings.probation_alpha / settings.replicas,
        max_failure_ratio=settings.probation_max_failure_ratio,
        max_slowdown=settings.probation_max_slowdown,
        slow_s=settings.probation_slow_s,
        max_less_sure_ratio=settings.probation_max_less_sure_ratio,
        max_disagreement_ratio=settings.probation_max_disagreement_ratio,
    )


def side_settings(settings: Settings) -> SideSettings:
    """Return how a process beside the replica is run."""
    return SideSettings(settings.engine_threads, settings.home.cache, settings.load_timeout_s, settings.memory_reserve_bytes)


def on_probation(moves: list[Move], version: str, probation_s: float) -> tuple[str, datetime] | None:
    """Return which version ``version`` replaced and until when it is watched; None where it is not, or not any more.

    A version that a person went back to, or promoted after probation had taken it back, is not watched.
    """
    last = next((move for move in reversed(moves) if move.version == version and move.action in ("promote", "rollback")), None)
    if last is None or last.action != "promote" or last.replaced is None:
        return None
    until = last.at + timedelta(seconds=probation_s)
    facts = [(move.by, move.version, move.replaced) for move in moves if move.action in ("promote", "rollback")]
    return None if until <= now() or overruled(facts, version) else (last.replaced, until)


class ProbationWatch:
    """Keeps ``slot.probation`` and ``slot.backup``; ``watcher`` loads what was replaced, where it is not in memory."""

    def __init__(
        self, slot: ModelSlot, registry: Registry, watcher: ChampionWatcher, book: RolloutBook, settings: Settings
    ) -> None:
        self._slot = slot
        self._registry = registry
        self._watcher = watcher
        self._book = book
        self._settings = settings
        self._seen: Loaded | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            pause = partial(asyncio.sleep, self._settings.swap_poll_s)
            await follow(self.look, pause, "the watch over a new version failed")
        finally:
            self._end()

    async def look(self) -> None:
        """Begin, judge or end the probation of the version that answers."""
        slot = self._slot
        current = slot.current
        if current is not self._seen:
            self._end()
            if current is not None:
                await self._begin(current)
            # Only now: where the history could not be read, the next look begins anew.
            self._seen = current
        probation = slot.probation
        if probation is None:
            if slot.backup is not None and slot.current is self._seen:
                slot.backup = None
                await asyncio.to_thread(give_back)
            return
        findings = probation.tally.findings()
        for finding in findings:
            ratio = max(0.0, finding.evidence / finding.needed)
            self._book.metrics.set("hone_probation_evidence_ratio", ratio, check=finding.check)
        broken = next((finding for finding in findings if finding.broken), None)
        if broken is not None:
            await self._take_back(probation, broken)
        elif now() >= probation.until:
            await self._book.note(probation.version, "passed", _summary(probation))
            # The version before goes at the next look.
            self._end(keep_backup=True)

    async def _begin(self, current: Loaded) -> None:
        try:
            moves = await asyncio.to_thread(self._registry.history, limit=_MOVES)
            due = on_probation(moves, current.version, self._settings.probation_s)
            if due is None:
                return
            replaced, until = due
            sides = [Side(name, await asyncio.to_thread(self._registry.path, name)) for name in (current.version, replaced)]
        except HoneError as error:
            _logger.warning("%s is not watched: %s", current.version, error.message)
            return
        await self._keep(replaced)
        names = current.classifier.labels.names
        tally = Tally(limits_of(self._settings), len(names), frozenset(names))
        comparison = None
        if self._settings.probation_sample_ratio > 0:
            comparison = Comparison(sides[0], sides[1], tally, self._book.metrics, side_settings(self._settings))
        self._slot.probation = Probation(current.version, replaced, until, tally, comparison)
        await self._book.note(current.version, "probation", f"watched beside {replaced} until {until:%Y-%m-%d %H:%M:%S} UTC")

    async def _keep(self, replaced: str) -> None:
        """Have the version before in memory, so that it can stand in and be back at once."""
        if self._slot.backup is not None and self._slot.backup.version == replaced:
            return
        try:
            self._slot.backup = await self._watcher.load(replaced)
        except HoneError as error:
            _logger.warning("%s cannot stand in: %s", replaced, error.message)

    async def _take_back(self, probation: Probation, broken: Finding) -> None:
        reason = broken.sentence
        try:
            await asyncio.to_thread(self._registry.rollback, by=PROBATION, why=reason, only=probation.version)
        except HoneError as error:
            await self._book.note(probation.version, "failed", f"{reason}; it cannot be rolled back: {error.message}")
            self._end()
            return
        await self._book.note(probation.version, "rolled_back", reason)
        self._end(keep_backup=True)
        self._watcher.nudge()

    def _end(self, *, keep_backup: bool = False) -> None:
        probation, self._slot.probation = self._slot.probation, None
        if probation is None:
            return
        if probation.comparison is not None:
            probation.comparison.close()
        for check in (finding.check for finding in probation.tally.findings()):
            self._book.metrics.set("hone_probation_evidence_ratio", 0.0, check=check)
        if not keep_backup and self._slot.current is self._seen:
            self._slot.backup = None


def _summary(probation: Probation) -> str:
    tally = probation.tally
    return f"{tally.answered} requests, {tally.compared} texts compared with {probation.replaced}, no limit passed"
