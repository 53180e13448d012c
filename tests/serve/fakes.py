"""A stand-in for a classifier, where the engine's behaviour and not its answers matter."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from core.classifier import Prepared
from core.windows import Reading
from serve.jobs import FloatMatrix


class FakeEngine:
    """Answers a text with ``[1 / length, 1 - 1 / length]`` of its words, remembers its batches, and can be held up or broken.

    ``prepare`` keeps a text as its length in words, so every word costs one token; it reads 100 at a time.
    """

    def __init__(self, *, lanes: int = 1, batch_texts: int | None = None) -> None:
        self.lanes, self.batch_texts = lanes, batch_texts
        self.batches: list[list[int]] = []
        self.free = threading.Event()
        self.free.set()
        self.started = threading.Event()
        self.poison: int | None = None
        self.broken = False

    def prepare(self, texts: Sequence[str], reading: Reading = "right") -> list[Prepared]:
        if any(text == "unreadable" for text in texts):
            raise ValueError("cannot be read")
        if reading == "windows":
            return [_in_windows(len(text.split())) for text in texts]
        return [Prepared(list(range(len(text.split()))), None, truncated=len(text.split()) > 100) for text in texts]

    def score(self, prepared: Sequence[Prepared]) -> FloatMatrix:
        lengths = [len(item.ids) for item in prepared]
        self.batches.append(lengths)
        self.started.set()
        self.free.wait(30)
        if self.poison in lengths:
            raise ValueError("cannot be scored")
        return fake_scores(lengths) * (np.nan if self.broken else 1.0)

    def logits_and_embeddings(self, prepared: Sequence[Prepared]) -> tuple[FloatMatrix, FloatMatrix | None]:
        return self.logits(prepared), None

    def logits(self, prepared: Sequence[Prepared]) -> FloatMatrix:
        return np.asarray(np.log(np.maximum(self.score(prepared), 1e-30)), dtype=np.float32)


def _in_windows(words: int) -> Prepared:
    first, *rest = [Prepared(list(range(min(100, words - start))), None, truncated=False) for start in range(0, words, 100)]
    return replace(first, rest=tuple(rest))


def fake_scores(lengths: Sequence[int]) -> FloatMatrix:
    """Return what a :class:`FakeEngine` answers to texts of so many words."""
    first = np.array([[1.0 / length] for length in lengths], dtype=np.float32)
    return np.hstack([first, 1.0 - first])


def words(count: int) -> str:
    """Return a text of ``count`` words."""
    return " ".join(["word"] * count)


async def until(condition: Callable[[], bool]) -> None:
    """Return when ``condition`` holds; the test's own timeout bounds it."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.001)
