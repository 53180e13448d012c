"""The batcher: every text once and in order, nothing for callers that left, no waiting for company."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import HoneError, Overloaded, Unavailable
from core.metrics import Metrics
from serve.admission import Admission, QueueLimits
from serve.batching import Batcher
from serve.waiting import BatchBudget
from tests.serve.fakes import FakeEngine, fake_scores, until, words

QUEUE_MAX_TEXTS = 50


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def batcher(metrics: Metrics) -> AsyncIterator[Batcher]:
    batcher = Batcher(BatchBudget(8, 256), Admission(QueueLimits(QUEUE_MAX_TEXTS)), metrics)
    batcher.start()
    yield batcher
    await batcher.close()


async def _started(engine: FakeEngine) -> None:
    assert await asyncio.to_thread(engine.started.wait, 30)
    engine.started.clear()


async def _waiting(batcher: Batcher, texts: int) -> None:
    """Return when so many texts wait and are tokenized."""
    await until(lambda: batcher.waiting_texts == texts == len(batcher._line))


def _has_batches(engine: FakeEngine, count: int) -> bool:
    return len(engine.batches) == count


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=40), min_size=1, max_size=12))
def test_every_text_is_answered_once_and_in_order(requests: list[list[int]]) -> None:
    engine = FakeEngine()

    async def ask_all() -> None:
        batcher = Batcher(BatchBudget(8, 256), Admission(QueueLimits(10_000)), Metrics())
        batcher.start()
        answers = await asyncio.gather(*(batcher.score(engine, [words(n) for n in lengths]) for lengths in requests))
        for lengths, answer in zip(requests, answers, strict=True):
            np.testing.assert_array_equal(answer.scores, fake_scores(lengths))
        assert batcher.waiting_texts == 0
        await batcher.close()

    asyncio.run(ask_all())
    assert sorted(n for batch in engine.batches for n in batch) == sorted(n for lengths in requests for n in lengths)
    assert all(max(batch) * len(batch) <= 256 and len(batch) <= 8 for batch in engine.batches)


async def test_a_free_engine_starts_at_once_and_a_busy_one_gathers(batcher: Batcher) -> None:
    engine = FakeEngine()
    engine.free.clear()
    first = asyncio.create_task(batcher.score(engine, [words(3)]))
    await _started(engine)
    rest = [asyncio.create_task(batcher.score(engine, [words(3)])) for _ in range(5)]
    await _waiting(batcher, 5)
    engine.free.set()
    await asyncio.gather(first, *rest)
    assert engine.batches == [[3], [3] * 5]


async def test_texts_of_callers_that_left_cost_nothing(batcher: Batcher) -> None:
    engine = FakeEngine()
    engine.free.clear()
    first = asyncio.create_task(batcher.score(engine, [words(1)]))
    await _started(engine)
    gone = asyncio.create_task(batcher.score(engine, [words(7)] * 4))
    stays = asyncio.create_task(batcher.score(engine, [words(6)]))
    await _waiting(batcher, 5)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert batcher.waiting_texts == 1
    engine.free.set()
    await asyncio.gather(first, stays)
    assert engine.batches == [[1], [6]]


async def test_a_full_queue_refuses_at_once(batcher: Batcher) -> None:
    engine = FakeEngine()
    engine.free.clear()
    first = asyncio.create_task(batcher.score(engine, [words(1)]))
    await _started(engine)
    waiting = asyncio.create_task(batcher.score(engine, [words(1)] * QUEUE_MAX_TEXTS))
    await _waiting(batcher, QUEUE_MAX_TEXTS)
    with pytest.raises(Overloaded) as caught:
        await batcher.score(engine, [words(1)])
    assert caught.value.details == {"waiting_texts": QUEUE_MAX_TEXTS, "queue_max_texts": QUEUE_MAX_TEXTS}
    engine.free.set()
    await asyncio.gather(first, waiting)
    await batcher.score(engine, [words(1)])


async def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits(batcher: Batcher) -> None:
    answer = await batcher.score(FakeEngine(), [words(2)] * (3 * QUEUE_MAX_TEXTS))
    assert answer.scores.shape == (3 * QUEUE_MAX_TEXTS, 2)


async def test_two_models_never_share_a_batch(batcher: Batcher) -> None:
    old, new = FakeEngine(), FakeEngine()
    old.free.clear()
    first = asyncio.create_task(batcher.score(old, [words(1)]))
    await _started(old)
    jobs = [asyncio.create_task(batcher.score(engine, [words(2)])) for engine in (old, new) * 3]
    await _waiting(batcher, 6)
    old.free.set()
    await asyncio.gather(first, *jobs)
    assert (old.batches, new.batches) == ([[1], [2, 2, 2]], [[2, 2, 2]])


async def test_one_requests_bad_text_fails_no_other(batcher: Batcher) -> None:
    engine = FakeEngine()
    engine.free.clear()
    engine.poison = 5
    first = asyncio.create_task(batcher.score(engine, [words(1)]))
    await _started(engine)
    texts = (words(5), "unreadable", words(4))
    jobs = [asyncio.create_task(batcher.score(engine, [text])) for text in texts]
    await _waiting(batcher, 2)
    engine.free.set()
    unscored, unread, fine = await asyncio.gather(*jobs, return_exceptions=True)
    await first
    assert str(unscored) == "cannot be scored"
    assert str(unread) == "cannot be read"
    assert not isinstance(fine, BaseException)
    assert batcher.waiting_texts == 0
    assert batcher.alive


async def test_values_that_are_not_finite_are_no_answer(batcher: Batcher) -> None:
    engine = FakeEngine()
    engine.broken = True
    with pytest.raises(HoneError, match="finite"):
        await batcher.score(engine, [words(1)])


async def test_closing_fails_what_still_waits(metrics: Metrics) -> None:
    batcher = Batcher(BatchBudget(8, 256), Admission(QueueLimits(QUEUE_MAX_TEXTS)), metrics)
    batcher.start()
    engine = FakeEngine()
    engine.free.clear()
    running = asyncio.create_task(batcher.score(engine, [words(1)]))
    await _started(engine)
    await batcher.close()
    engine.free.set()
    with pytest.raises(Unavailable):
        await running
    assert not batcher.alive


async def test_truncation_is_told_per_text(batcher: Batcher) -> None:
    answer = await batcher.score(FakeEngine(), [words(101), words(3), words(140)])
    assert answer.truncated == [True, False, True]


async def test_what_batches_cost_is_measured(batcher: Batcher, metrics: Metrics) -> None:
    await batcher.score(FakeEngine(), [words(10), words(12)])

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    await until(lambda: value("hone_engine_seconds_count") == 1.0)
    assert value("hone_batch_texts_sum") == 2.0
    assert value("hone_tokens_total", kind="text") == 22.0
    assert value("hone_tokens_total", kind="padding") == 2.0


async def test_a_thread_that_breaks_fails_its_callers_and_the_health_check(
    batcher: Batcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("a fault of the batcher's own")

    monkeypatch.setattr("serve.batching.score_pieces", broken)
    with pytest.raises(Unavailable, match="batching has stopped"):
        await batcher.score(FakeEngine(), [words(1)])
    await until(lambda: not batcher.alive)


async def test_an_engine_with_lanes_works_on_as_many_batches_at_a_time(metrics: Metrics) -> None:
    batcher = Batcher(BatchBudget(8, 256), Admission(QueueLimits(QUEUE_MAX_TEXTS)), metrics, lanes=3)
    batcher.start()
    engine = FakeEngine(lanes=2, batch_texts=4)
    engine.free.clear()
    asked = []
    for number in range(2):
        asked.append(asyncio.create_task(batcher.score(engine, [words(3)])))
        await until(partial(_has_batches, engine, number + 1))
    # Both lanes are taken, though the batcher has a thread more.
    asked += [asyncio.create_task(batcher.score(engine, [words(3)])) for _ in range(6)]
    await _waiting(batcher, 6)
    assert engine.batches == [[3], [3]]
    engine.free.set()
    await asyncio.gather(*asked)
    assert sorted(map(len, engine.batches)) == [1, 1, 2, 4]
    await batcher.close()


async def test_a_request_of_many_texts_is_shared_out_among_the_lanes(metrics: Metrics) -> None:
    batcher = Batcher(BatchBudget(8, 256), Admission(QueueLimits(QUEUE_MAX_TEXTS)), metrics, lanes=2)
    batcher.start()
    engine = FakeEngine(lanes=2, batch_texts=4)
    engine.free.clear()
    asked = asyncio.create_task(batcher.score(engine, [words(3)] * 8))
    # Two batches are begun before either is done.
    await until(lambda: engine.batches == [[3] * 4, [3] * 4])
    engine.free.set()
    assert (await asked).scores.shape == (8, 2)
    await batcher.close()


async def test_free_lanes_share_what_waits_and_long_texts_go_a_few_at_a_time(metrics: Metrics) -> None:
    batcher = Batcher(BatchBudget(32, 4096), Admission(QueueLimits(QUEUE_MAX_TEXTS)), metrics, lanes=2)
    batcher.start()
    engine = FakeEngine(lanes=2, batch_texts=32)

    async def first_of(texts: int, tokens: int) -> list[int]:
        """Return of how many texts the batches are that both lanes begin with."""
        await until(lambda: batcher._idle == 2)
        engine.batches.clear()
        engine.free.clear()
        asked = asyncio.create_task(batcher.score(engine, [words(tokens)] * texts))
        await until(partial(_has_batches, engine, 2))
        engine.free.set()
        await asked
        return [len(batch) for batch in engine.batches[:2]]

    assert await first_of(20, 5) == [10, 10]
    # A thousand tokens a call on a processor, so that whoever comes next need not wait for all of them.
    assert await first_of(32, 100) == [10, 10]
    # Where batches were not measured the engine is a GPU's, and takes what the budget allows.
    engine.batch_texts = None
    assert await first_of(32, 100) == [16, 16]
    await batcher.close()


async def test_a_lane_that_is_done_beside_another_leaves_it_something_to_go_on_with(metrics: Metrics) -> None:
    batcher = Batcher(BatchBudget(64, 4096), Admission(QueueLimits(200)), metrics, lanes=2)
    batcher.start()
    engine = FakeEngine(lanes=2, batch_texts=64)
    engine.free.clear()
    first = asyncio.create_task(batcher.score(engine, [words(3)] * 64))
    await until(partial(_has_batches, engine, 2))
    asked = [asyncio.create_task(batcher.score(engine, [words(3)])) for _ in range(60)]
    await _waiting(batcher, 60)
    engine.free.set()
    await asyncio.gather(first, *asked)
    sizes = [len(batch) for batch in engine.batches]
    # Of 60 that wait beside 32 in the other lane a quarter of all; one who took the rest would leave the other none.
    assert sizes[:2] == [32, 32]
    assert sizes[2] == 23
    assert max(sizes[2:]) <= 23
    assert sum(sizes) == 124
    await batcher.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=40), min_size=1, max_size=12), st.integers(1, 4))
def test_lanes_answer_every_text_once_and_in_order(requests: list[list[int]], lanes: int) -> None:
    engines = [FakeEngine(lanes=lanes), FakeEngine(lanes=1)]

    async def ask_all() -> None:
        batcher = Batcher(BatchBudget(8, 256), Admission(QueueLimits(10_000)), Metrics(), lanes=4)
        batcher.start()
        asked = (batcher.score(engines[place % 2], [words(n) for n in lengths]) for place, lengths in enumerate(requests))
        for lengths, answer in zip(requests, await asyncio.gather(*asked), strict=True):
            np.testing.assert_array_equal(answer.scores, fake_scores(lengths))
        assert batcher.waiting_texts == 0
        await batcher.close()

    asyncio.run(ask_all())
    found = [n for engine in engines for batch in engine.batches for n in batch]
    assert sorted(found) == sorted(n for lengths in requests for n in lengths)
