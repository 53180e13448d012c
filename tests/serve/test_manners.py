"""How texts are read on their way through the batcher: in windows, uncut or not at all, as logits; and where time goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import TextTooLong
from core.metrics import Metrics
from serve.admission import Admission, QueueLimits
from serve.batching import Batcher
from serve.jobs import PLAIN, Manner, Scored, Timing
from serve.waiting import BatchBudget
from tests.serve.fakes import FakeEngine, fake_scores, until, words

WINDOWS = Manner("windows")
manners = st.sampled_from([PLAIN, WINDOWS, Manner("left"), Manner(logits=True), Manner("windows", logits=True)])


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def batcher(metrics: Metrics) -> AsyncIterator[Batcher]:
    batcher = Batcher(BatchBudget(8, 256), Admission(QueueLimits(50)), metrics)
    batcher.start()
    yield batcher
    await batcher.close()


def _check(lengths: list[int], manner: Manner, answer: Scored) -> None:
    """Assert that ``answer`` is what a fake engine says to texts of so many words, read 100 at a time."""
    for place, length in enumerate(lengths):
        read = [(place, length)]
        if manner.reading == "windows":
            read = list(answer.windows.get(place, read))
            assert [tokens for _, tokens in read] == [min(100, length - start) for start in range(0, length, 100)]
        for row, tokens in read:
            scores = answer.scores[row]
            np.testing.assert_allclose(np.exp(scores) if manner.logits else scores, fake_scores([tokens])[0], atol=1e-6)
    assert len(answer.scores) == len(lengths) + sum(len(found) - 1 for found in answer.windows.values())
    assert answer.timing.tokens == sum(lengths)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(manners, st.lists(st.integers(2, 350), min_size=1, max_size=20)), min_size=1, max_size=8))
def test_every_word_is_read_once_in_the_manner_asked_for(requests: list[tuple[Manner, list[int]]]) -> None:
    engine = FakeEngine()

    async def ask_all() -> None:
        batcher = Batcher(BatchBudget(8, 256), Admission(QueueLimits(10_000)), Metrics())
        batcher.start()
        answers = await asyncio.gather(
            *(batcher.score(engine, [words(n) for n in lengths], manner) for manner, lengths in requests)
        )
        for (manner, lengths), answer in zip(requests, answers, strict=True):
            _check(lengths, manner, answer)
        assert batcher.waiting_texts == 0
        await batcher.close()

    asyncio.run(ask_all())
    assert sum(map(sum, engine.batches)) == sum(sum(lengths) for _, lengths in requests)


async def test_windows_of_a_caller_that_left_cost_nothing(batcher: Batcher) -> None:
    engine = FakeEngine()
    engine.free.clear()
    first = asyncio.create_task(batcher.score(engine, [words(2)]))
    assert await asyncio.to_thread(engine.started.wait, 30)
    gone = asyncio.create_task(batcher.score(engine, [words(950), words(30)], WINDOWS))
    # A long text takes the room of its windows once it has been read.
    await until(lambda: batcher.waiting_texts == 11)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert batcher.waiting_texts == 0
    engine.free.set()
    await first
    assert engine.batches == [[2]]


async def test_who_refuses_cuts_is_refused_alone(batcher: Batcher) -> None:
    engine = FakeEngine()
    texts = [words(3), words(101)]
    strict, lenient = Manner(refuses_cuts=True), PLAIN
    refused, cut, whole = await asyncio.gather(
        batcher.score(engine, texts, strict),
        batcher.score(engine, texts, lenient),
        batcher.score(engine, texts[:1], strict),
        return_exceptions=True,
    )
    assert isinstance(refused, TextTooLong)
    assert refused.details["position"] == 1
    assert isinstance(cut, Scored)
    assert isinstance(whole, Scored)
    assert (cut.truncated, whole.truncated) == ([False, True], [False])
    assert batcher.waiting_texts == 0
    assert batcher.alive


async def test_time_is_told_by_where_it_went(batcher: Batcher, metrics: Metrics) -> None:
    engine = FakeEngine()
    engine.free.clear()
    first = asyncio.create_task(batcher.score(engine, [words(2)]))
    assert await asyncio.to_thread(engine.started.wait, 30)
    second = asyncio.create_task(batcher.score(engine, [words(5), words(7)]))
    await until(lambda: batcher.waiting_texts == 2 == len(batcher._line))
    held = perf_counter()
    await asyncio.sleep(0.02)
    held = perf_counter() - held
    engine.free.set()
    running, waiting = (await first).timing, (await second).timing
    # The first was at the engine all that time, the second before it.
    assert running.engine_s >= held
    assert waiting.queue_s >= held
    assert (running.tokens, waiting.tokens) == (2, 12)
    assert all(timing.tokenize_s > 0 and timing.engine_s > 0 and timing.queue_s >= 0 for timing in (running, waiting))
    # Two requests that came one after the other were tokenized in a turn each.
    assert metrics.registry.get_sample_value("hone_tokenize_seconds_count") == 2.0


def test_times_add_up() -> None:
    assert Timing(1.0, 2.0, 3.0, 4) + Timing(0.5, 0.25, 0.125, 6) == Timing(1.5, 2.25, 3.125, 10)
