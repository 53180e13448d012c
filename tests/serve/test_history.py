"""Recent history: what replicas answered, in bounded points, and what happened meanwhile."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from core.history_bodies import HistoryAnswer
from core.metrics import Metrics
from core.registry import Registry
from core.rollouts import RolloutRecord, Rollouts
from core.schemas import now
from core.settings import Settings
from core.slo import LATENCY_BUCKETS_S
from feedback.runs import RunEnd
from feedback.store import Store
from feedback.traffic import SLOT_S, TrafficSlot
from serve.history import history_of, quantile_s
from serve.store_calls import StoreCalls
from serve.traffic_recorder import TrafficRecorder, read_counts
from tests.bundles import register_ngram_bundle
from tests.serve.conftest import Service, Start
from tests.serve.fakes import until

_PLACES = len(LATENCY_BUCKETS_S) + 1


def _within(**texts: int) -> list[int]:
    """Return counts of texts by place, e.g. ``p3=10``."""
    return [texts.get(f"p{place}", 0) for place in range(_PLACES)]


def _slot(at: datetime, texts: int, refused: int = 0, failed: int = 0) -> TrafficSlot:
    return TrafficSlot(at, texts, refused, failed, _within(p4=texts))


@pytest.mark.parametrize(
    ("within", "share", "expected"),
    [
        (_within(), 0.5, None),
        (_within(p0=10), 0.5, 0.0005),
        (_within(p1=50, p4=50), 0.5, 0.002),
        (_within(p1=50, p4=50), 0.75, 0.008),
        (_within(p14=3), 0.5, LATENCY_BUCKETS_S[-1]),
    ],
)
def test_quantiles_are_those_of_prometheus(within: list[int], share: float, expected: float | None) -> None:
    assert quantile_s(within, share) == expected


def test_counts_are_of_texts_by_latency_of_refusals_and_of_defects() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.003, 0.003, 99.0):
        metrics.observe("hone_prediction_seconds", seconds, version="v1", source="head")
    metrics.observe("hone_prediction_seconds", 0.003, version="v2", source="memory")
    for code in ("overloaded", "deadline_exceeded", "unknown_label"):
        metrics.count("hone_refused_total", code=code)
    for status in ("200", "404", "429", "500"):
        metrics.count("hone_requests_total", route="/v1/predict", status=status)
    assert read_counts(metrics) == (5, 2, 1, *_within(p0=1, p2=3, p14=1))


async def test_each_slot_holds_what_came_in_it_and_waits_for_a_store_that_is_away(settings: Settings) -> None:
    metrics, store = Metrics(), Store(settings.sqlalchemy_url)
    (settings.home.root / "file").touch()
    away = StoreCalls(Store(f"sqlite:///{settings.home.root / 'file' / 'feedback.db'}"))
    recorder = TrafficRecorder("replica-1", metrics, away)
    start = now().replace(microsecond=0) - timedelta(seconds=60)
    moments = [start + timedelta(seconds=SLOT_S * number) for number in range(3)]
    for place, moment in enumerate(moments):
        for _ in range(place + 1):
            metrics.observe("hone_prediction_seconds", 0.003, version="v1", source="head")
        if place == 2:
            recorder._store = StoreCalls(store)
        await recorder.record(moment)
    assert [(slot.began_at, slot.texts) for slot in store.traffic_since(start)] == list(zip(moments, (1, 2, 3), strict=True))
    store.close()


async def test_slots_follow_each_other_and_nothing_is_counted_in_two(settings: Settings) -> None:
    metrics, store = Metrics(), Store(settings.sqlalchemy_url)
    recorder = TrafficRecorder("replica-1", metrics, StoreCalls(store), slot_s=0.05)
    start = now()
    running = asyncio.create_task(recorder.run())
    for _ in range(20):
        metrics.observe("hone_prediction_seconds", 0.003, version="v1", source="head")
        await asyncio.sleep(0.01)
    await until(lambda: sum(slot.texts for slot in store.traffic_since(start - timedelta(seconds=1))) == 20)
    running.cancel()
    begun = [slot.began_at for slot in store.traffic_since(start - timedelta(seconds=1))]
    assert len(begun) > 1
    store.close()


def test_points_are_bounded_and_count_only_time_that_was_recorded(settings: Settings) -> None:
    store, registry = Store.open(settings.sqlalchemy_url), Registry(settings.home.registry)
    end = now().replace(microsecond=0)
    start = end - timedelta(hours=6)
    slots = [_slot(start + timedelta(seconds=SLOT_S * number), 30, refused=15) for number in range(6 * 240)]
    store.add_traffic("replica-1", slots)
    whole = history_of(store, registry, start, end)
    assert (len(whole.traffic), whole.step_s) == (240, 90)
    assert {(point.texts_per_s, point.refused_per_s) for point in whole.traffic} == {(2.0, 1.0)}
    # The last step of these holds two slots of six, and is no quieter for that.
    assert history_of(store, registry, start + timedelta(seconds=60), end).traffic[-1].texts_per_s == 2.0
    short = history_of(store, registry, end - timedelta(minutes=2), end)
    assert (len(short.traffic), short.step_s, short.traffic[0].p50_s) == (8, SLOT_S, 0.008)
    store.close()


async def test_history_tells_moves_runs_failed_rollouts_and_what_was_answered(start: Start, settings: Settings) -> None:
    async with start(versions=2) as service:
        registry, store = service.parts.registry, Store(settings.sqlalchemy_url)
        run = store.create_run("head")
        store.claim_run("test")
        store.finish_run(run.run_id, RunEnd("failed", error="no disk"))
        Rollouts(registry.root).add(
            RolloutRecord(at=now(), version="v3", state="failed", reason="damaged", replica_id="replica-1")
        )
        register_ngram_bundle(registry, seed=9)
        await service.post("/v1/models/v1/promote", {"by": "ann", "why": "better on refunds"})
        await service.serves("v1")
        await service.post("/v1/predict", {"text": "so positive"})
        await TrafficRecorder("replica-2", Metrics(), service.parts.store).record(now())
        answer = await service.http.get("/v1/history?minutes=5")
        found = HistoryAnswer.model_validate_json(answer.content)
        told = {(event.kind, event.subject, event.outcome, event.why) for event in found.events}
        assert told >= {
            ("promote", "v1", None, "better on refunds"),
            ("run", run.run_id, "failed", "no disk"),
            ("failed", "v3", None, "damaged"),
        }
        assert [event.at for event in found.events] == sorted((event.at for event in found.events), reverse=True)
        assert "register" not in answer.text
        assert len(found.traffic) == 1
        store.close()


@pytest.mark.parametrize("minutes", ["0", "361", "all"])
async def test_only_so_many_minutes_are_kept(service: Service, minutes: str) -> None:
    response = await service.http.get(f"/v1/history?minutes={minutes}")
    assert response.status_code in (400, 422)
