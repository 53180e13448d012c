"""Which version answers a request, who stands in when it fails, and which texts a second version is shown."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from core.errors import InputError, Unavailable
from core.metrics import Metrics
from core.settings import Settings
from serve.slot import Challenge, Loaded, ModelSlot, Probation
from serve.split import is_challengers

Answer = TypeVar("Answer")

_logger = logging.getLogger("hone.serve")


class Traffic:
    """Sends each request to one version of ``slot``."""

    def __init__(self, slot: ModelSlot, metrics: Metrics, settings: Settings) -> None:
        self._slot = slot
        self._metrics = metrics
        self._canary_ratio = settings.canary_ratio
        self._shadow_ratio = settings.shadow_ratio
        self._probation_ratio = settings.probation_sample_ratio
        self._credit = 0.0

    async def answer(
        self, texts: Sequence[str], by: Callable[[Loaded], Awaitable[Answer]], version: str | None = None
    ) -> Answer:
        """Return what ``by`` makes of the version that is to answer ``texts``, or of its stand-in when that version fails.

        A caller that insists on a ``version`` has that one or none.

        Raises:
            NoModel: none is loaded.
            UnknownVersion: the one that is insisted on does not answer here.
            HoneError: what ``by`` raises, where it is not the version's fault or nobody can stand in.
        """
        # Chosen once: whatever is swapped in from here on, this request has one version.
        loaded = self._choose(texts) if version is None else self._slot.answering(version)
        try:
            answer = await by(loaded)
        except (InputError, Unavailable):
            raise
        except Exception as error:
            self._metrics.count("hone_version_failures_total", version=loaded.version)
            # Neither its words nor its traceback: a library's error may quote the text.
            _logger.error("the engine of %s failed: %s", loaded.version, type(error).__name__)  # noqa: TRY400 - as said
            stand_in = self._stand_in(loaded) if version is None else None
            if stand_in is None:
                raise
            answer = await by(stand_in)
            # Held against the version only now: another one could answer, so it was not the text.
            self._blame(loaded, error)
            return answer
        slot = self._slot
        if slot.probation is not None or slot.challenge is not None:
            self._observe(loaded, texts)
        return answer

    def _choose(self, texts: Sequence[str]) -> Loaded:
        challenge = self._slot.challenge
        if challenge is not None and challenge.loaded is not None and is_challengers(texts, self._canary_ratio):
            return challenge.loaded
        return self._slot.require()

    def _stand_in(self, loaded: Loaded) -> Loaded | None:
        slot = self._slot
        return slot.backup if slot.current is loaded else slot.current

    def _blame(self, loaded: Loaded, error: Exception) -> None:
        slot = self._slot
        self._count(slot.probation, loaded, failed=True)
        challenge = slot.challenge
        if challenge is not None and challenge.loaded is loaded:
            # Out at once; the record of it follows.
            challenge.loaded = None
            challenge.failure = f"its engine failed on a request ({type(error).__name__})"
            challenge.failed.set()

    def _observe(self, loaded: Loaded, texts: Sequence[str]) -> None:
        slot = self._slot
        self._count(slot.probation, loaded, failed=False)
        self._count(slot.challenge, loaded, failed=False)
        watched, ratio = (slot.probation, self._probation_ratio) if slot.probation else (slot.challenge, self._shown_ratio)
        if watched is None or watched.comparison is None:
            return
        # Every so many requests rather than by chance or by text: repeated texts count as often as they are sent.
        self._credit += ratio
        if self._credit >= 1.0:
            self._credit -= 1.0
            watched.comparison.offer(texts)

    @property
    def _shown_ratio(self) -> float:
        return max(self._shadow_ratio, self._probation_ratio if self._canary_ratio else 0.0)

    @staticmethod
    def _count(watched: Probation | Challenge | None, loaded: Loaded, *, failed: bool) -> None:
        if watched is not None and watched.version == loaded.version:
            watched.tally.answer(failed=failed)
