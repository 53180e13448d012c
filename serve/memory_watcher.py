"""Keeping a replica's memory equal to what the store says that people said, off the request path."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import HoneError
from core.label_book import LabelBook
from core.memory import Lesson, Memory
from core.metrics import Metrics
from core.neighbours import FloatVector
from core.settings import Settings
from feedback.consensus import Vote
from feedback.first_look import FirstLook, Looked
from feedback.lessons import LessonMark, LessonNews
from feedback.store import Store
from feedback.suspicion import Evidence, Limits
from serve.batching import Batcher
from serve.following import follow
from serve.memory_spaces import MemorySpaces
from serve.recalling import Recall
from serve.slot import Loaded, ModelSlot
from serve.store_calls import StoreCalls

# Whoever corrects waits for so long at most until the memory of this replica knows it.
_WAIT_S = 2.0
_TEXTS_AT_ONCE = 16
# So often at each look, so that a new encoder reads a full memory within minutes and nobody waits for it.
_TURNS = 4
_MOST_SAID = 10_000

_logger = logging.getLogger("hone.serve")


@dataclass(frozen=True)
class MemoryFill:
    """How many texts a memory ``answers``, how many the version has ``learned``, and how many wait to be looked at."""

    answers: int
    learned: int
    waiting: int


class MemoryWatcher:
    """Follows the corrections in ``store`` for the versions in ``slot``; made and used on one event loop.

    While the store is away it keeps what it has, and catches up.
    """

    def __init__(self, slot: ModelSlot, store: StoreCalls, batcher: Batcher, metrics: Metrics, settings: Settings) -> None:
        self._slot = slot
        self._store = store
        self._batcher = batcher
        self._metrics = metrics
        self._settings = settings
        self._limits = Limits.of(settings)
        self._memory = Memory(settings.memory_entries)
        self._spaces = MemorySpaces()
        self._mark: LessonMark | None = None
        self._book = LabelBook()
        # Texts of which it has to be known first what the version says of them.
        self._waiting: dict[str, tuple[Sequence[Vote], Looked]] = {}
        self._said: dict[str, Evidence] = {}
        self._learned: dict[str, frozenset[int]] = {}
        self._learned_at = 0
        self._recalls: dict[str, Recall] = {}
        self._turn = asyncio.Lock()
        self._begun = 0
        self._looks: set[asyncio.Task[None]] = set()
        self._nudged = asyncio.Event()

    def recall(self, loaded: Loaded) -> Recall | None:
        """Return what the memory holds for ``loaded``, None for nothing."""
        if not self._memory:
            return None
        recall = self._recalls.get(loaded.version)
        if recall is None:
            learned = self._learned.get(loaded.version, frozenset())
            nearness, neighbours = loaded.classifier.manifest.nearness, self._spaces.neighbours(loaded)
            recall = Recall(self._memory.lessons, learned, self._book, nearness, neighbours)
            self._recalls[loaded.version] = recall
        return recall

    @property
    def fill(self) -> MemoryFill:
        """How much there is, where the present version answers."""
        current = self._slot.current
        recall = self.recall(current) if current is not None else None
        learned = sum(recall.has_learned(lesson) for lesson in self._memory) if recall is not None and recall.learned else 0
        return MemoryFill(len(self._memory) - learned, learned, len(self._waiting))

    def nudge(self) -> None:
        """Look now rather than at the next poll."""
        self._nudged.set()

    async def run(self) -> None:
        """Follow the store until cancelled."""
        await follow(self._poll, self._pause, "following the corrections failed")

    async def catch_up(self) -> None:
        """Return once all that the store held at this call is known here, or the store does not answer in time."""
        if not self._settings.memory_entries:
            return
        # It goes on where the wait for it ends: broken off in the middle, it would have to be done again.
        look = asyncio.create_task(self._poll())
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)
        await asyncio.wait({look}, timeout=_WAIT_S)

    async def look(self) -> None:
        """Take in what is new; a look that began after this call, for somebody else, is as good.

        Raises:
            StoreUnavailable: the store does not answer; the memory stays as it was.
        """
        asked = self._begun
        async with self._turn:
            if self._begun == asked:
                await self._look()

    def close(self) -> None:
        """Give the store's connections back."""
        self._store.close()

    async def _poll(self) -> None:
        # That the store is away the heartbeat tells; what there was no room to read waits for the next look.
        with contextlib.suppress(HoneError):
            await self.look()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.memory_poll_s):
                await self._nudged.wait()
        self._nudged.clear()

    async def _look(self) -> None:
        self._begun += 1
        # Without a version nothing is answered, and nobody can say what one thinks of the texts.
        if self._slot.current is None:
            return
        news = await self._store.call(Store.lesson_news, self._mark, self._limits, self._settings.memory_entries)
        if news is not None:
            self._take(news)
        await self._ask_about_waiting()
        changed = await self._follow_learned()
        embedded = await self._embed()
        if news is not None or changed or embedded:
            self._recalls.clear()
            self._show()

    def _take(self, news: LessonNews) -> None:
        if news.whole:
            self._waiting.clear()
            self._said.clear()
            for lesson in self._memory:
                if lesson.text_key not in news.votes:
                    self._forget(lesson.text_key)
        self._book = news.book
        for key, votes in news.votes.items():
            self._consider(key, votes, news.looked)
        self._mark = news.mark
        self._recalls.clear()

    def _consider(self, text_key: str, votes: Sequence[Vote], looked: Looked) -> None:
        look = FirstLook(looked, self._limits, self._settings.memory_trust, self._book, self._taught(), self._said)
        self._waiting.pop(text_key, None)
        if look.needs_evidence(votes):
            self._waiting[text_key] = votes, looked
            return
        lesson = look.lesson_of(votes)
        if lesson is None:
            self._forget(text_key)
            return
        left = self._memory.put(lesson)
        self._spaces.follow(lesson)
        for key in left:
            self._spaces.forget(key)
        if left:
            self._metrics.count("hone_memory_evicted_total", len(left))

    def _forget(self, text_key: str) -> None:
        self._memory.forget(text_key)
        self._spaces.forget(text_key)

    def _taught(self) -> frozenset[str]:
        names = self._slot.current.classifier.labels.names if self._slot.current is not None else ()
        return frozenset(self._book.now(name) or name for name in names)

    async def _ask_about_waiting(self) -> None:
        """Have the version say what it thinks of the texts that wait for it."""
        while self._waiting and (current := self._slot.current) is not None:
            keys = list(self._waiting)[:_TEXTS_AT_ONCE]
            texts = [self._waiting[key][0][0].text for key in keys]
            said = await self._ask(current, texts)
            if len(self._said) > _MOST_SAID:
                self._said.clear()
            for key, evidence in zip(keys, said, strict=True):
                votes, looked = self._waiting.pop(key)
                if evidence is not None:
                    self._said[key] = evidence
                    self._consider(key, votes, looked)

    async def _ask(self, current: Loaded, texts: Sequence[str]) -> list[Evidence | None]:
        try:
            scored = await self._batcher.score(current.classifier, texts)
        except HoneError:
            # No room, or no time: the texts go on waiting.
            raise
        except Exception as error:
            _logger.warning("a corrected text cannot be read by %s: %s", current.version, type(error).__name__)
            if len(texts) == 1:
                return [None]
            return [evidence for text in texts for evidence in await self._ask(current, [text])]
        names = current.classifier.labels.names
        best = scored.scores.argmax(axis=1).tolist()
        return [
            Evidence(current.version, self._book.now(names[place]) or names[place], float(row[place]))
            for place, row in zip(best, scored.scores, strict=True)
        ]

    async def _follow_learned(self) -> bool:
        """Know what the versions in memory have learned; return whether that has changed."""
        runs = self._mark.runs if self._mark is not None else 0
        known = self._learned if runs == self._learned_at else {}
        versions = [loaded.version for loaded in self._slot.all_loaded()]
        if known is self._learned and set(versions) == set(known):
            return False
        learned: dict[str, frozenset[int]] = {}
        for version in versions:
            found = known.get(version)
            learned[version] = await self._store.call(Store.learned_by, version) if found is None else found
        self._learned, self._learned_at = learned, runs
        self._recalls.clear()
        return True

    async def _embed(self) -> bool:
        """Read some lessons as the versions in memory do that have not been yet; return whether there were any."""
        versions = self._slot.all_loaded()
        embedded = self._spaces.keep_to(versions)
        # One by one where many callers wait, whose texts come first.
        most = _TEXTS_AT_ONCE if self._batcher.waiting_texts < _TEXTS_AT_ONCE else 1
        for loaded in versions:
            for _ in range(_TURNS):
                lessons = self._spaces.missing(loaded, self._memory.lessons, most)
                if not lessons:
                    break
                self._spaces.put(loaded, lessons, await self._embeddings(loaded, lessons))
                embedded = True
        return embedded

    async def _embeddings(self, loaded: Loaded, lessons: Sequence[Lesson]) -> Mapping[int, FloatVector]:
        texts = [lesson.text for lesson in lessons]
        try:
            scored = await self._batcher.score(loaded.classifier, texts, seek=list)
        except HoneError:
            raise
        except Exception as error:
            _logger.warning("corrected texts cannot be read by %s: %s", loaded.version, type(error).__name__)
            return {}
        return scored.found

    def _show(self) -> None:
        fill = self.fill
        states: Mapping[str, int] = {"answers": fill.answers, "learned": fill.learned}
        for state, count in states.items():
            self._metrics.set("hone_memory_texts", count, state=state)
