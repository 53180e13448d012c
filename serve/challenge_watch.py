"""Lets the challenger answer its share, or look on from the shadow, as the settings say; one that fails is taken out."""

from __future__ import annotations

import asyncio
import contextlib

from core.errors import HoneError
from core.registry import Aliases, Registry
from core.settings import Settings
from serve.comparing import Comparison, Side
from serve.following import follow
from serve.probation import Tally
from serve.probation_watch import limits_of, side_settings
from serve.rollout_book import RolloutBook
from serve.slot import Challenge, Loaded, ModelSlot
from serve.swap import ChampionWatcher, reason_of


class ChallengeWatch:
    """Keeps ``slot.challenge`` at the registry's challenger, where a canary share or a shadow is asked for."""

    def __init__(
        self, slot: ModelSlot, registry: Registry, watcher: ChampionWatcher, book: RolloutBook, settings: Settings
    ) -> None:
        self._slot = slot
        self._registry = registry
        self._watcher = watcher
        self._book = book
        self._settings = settings
        self._failed: str | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            await follow(self.look, self._pause, "following the challenger failed")
        finally:
            self._end()

    async def look(self) -> None:
        """Take the challenger in, judge it, or take it out."""
        slot = self._slot
        if slot.challenge is not None and slot.challenge.failure is not None:
            await self._withdraw(slot.challenge, slot.challenge.failure)
        try:
            aliases = await asyncio.to_thread(self._registry.aliases)
        except HoneError:
            # The watcher of the champion tells of it; what challenges goes on.
            return
        challenge = slot.challenge
        if challenge is not None and challenge.version != aliases.challenger:
            self._end()
        if aliases.challenger is None:
            self._failed = None
        elif slot.challenge is None and slot.current is not None and aliases.challenger != self._failed:
            await self._begin(aliases.challenger)
        if slot.challenge is not None:
            await self._judge(slot.challenge, aliases)

    async def _begin(self, version: str) -> None:
        canary = self._settings.canary_ratio > 0 and await asyncio.to_thread(self._registry.may_answer, version)
        if not canary and not self._settings.shadow_ratio:
            # The gate refused it, and nobody let it in all the same.
            return
        try:
            manifest = await asyncio.to_thread(self._registry.manifest, version)
            loaded: Loaded | None = await self._watcher.load(version) if canary else None
        except Exception as error:
            self._failed = version
            await self._book.note(version, "failed", f"as challenger: {reason_of(error)}")
            return
        names = manifest.labels
        tally = Tally(limits_of(self._settings), len(names), frozenset(names))
        self._slot.challenge = Challenge(version, tally, loaded)
        mode = "canary" if loaded else "shadow"
        self._book.metrics.set("hone_challenger_info", 1, version=version, mode=mode)
        share = self._settings.canary_ratio if loaded else self._settings.shadow_ratio
        await self._book.note(version, "canary" if loaded else "shadow", f"{share:.1%} of the requests")

    async def _judge(self, challenge: Challenge, aliases: Aliases) -> None:
        self._compare(challenge, aliases.champion)
        broken = challenge.tally.verdict()
        if challenge.loaded is not None and broken is not None:
            await self._withdraw(challenge, broken.sentence)

    def _compare(self, challenge: Challenge, champion: str | None) -> None:
        """Keep the comparison with the present champion; while that one is on probation itself, its own comes first."""
        current, running = self._slot.current, challenge.comparison
        if running is not None and (
            self._slot.probation is not None or current is None or running.reference.version != current.version
        ):
            running.close()
            challenge.comparison = None
        if (
            challenge.comparison is None
            and self._slot.probation is None
            and current is not None
            and champion == current.version
        ):
            sides = [Side(version, self._registry.path(version)) for version in (challenge.version, current.version)]
            # What was seen beside another champion says nothing about this one.
            challenge.tally.forget_comparisons()
            challenge.comparison = Comparison(
                sides[0], sides[1], challenge.tally, self._book.metrics, side_settings(self._settings)
            )

    async def _withdraw(self, challenge: Challenge, reason: str) -> None:
        self._end()
        self._failed = challenge.version
        await asyncio.to_thread(self._registry.withdraw, by="canary", why=reason, only=challenge.version)
        await self._book.note(challenge.version, "withdrawn", reason)

    def _end(self) -> None:
        challenge, self._slot.challenge = self._slot.challenge, None
        if challenge is None:
            return
        for mode in ("canary", "shadow"):
            self._book.metrics.set("hone_challenger_info", 0, version=challenge.version, mode=mode)
        if challenge.comparison is not None:
            challenge.comparison.close()

    async def _pause(self) -> None:
        challenge = self._slot.challenge
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.swap_poll_s):
                if challenge is None:
                    await asyncio.Event().wait()
                else:
                    await challenge.failed.wait()
