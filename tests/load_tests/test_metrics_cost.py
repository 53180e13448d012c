"""What metrics cost: switching them off leaves nothing counted, and on again everything."""

from __future__ import annotations

from core.metrics import Metrics
from load_tests.metrics_cost import interval, switch


def _requests(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("hone_refused_total", {"code": "overloaded"})


def test_metrics_that_are_switched_off_count_nothing_and_on_again_everything() -> None:
    metrics = Metrics()
    meter = metrics.meter([("hone_batch_texts", {})])
    for on in (True, False, True):
        switch(on=on)
        metrics.count("hone_refused_total", code="overloaded")
        metrics.set("hone_store_up", float(on))
        metrics.observe("hone_engine_seconds", 0.1)
        metrics.observe_times("hone_load_seconds", 0.1, 2)
        meter.add((), (3,))
    assert _requests(metrics) == 2
    assert metrics.registry.get_sample_value("hone_engine_seconds_count") == 2
    assert metrics.registry.get_sample_value("hone_load_seconds_count") == 4
    assert metrics.registry.get_sample_value("hone_batch_texts_count") == 2
    assert metrics.registry.get_sample_value("hone_store_up") == 1


def test_the_interval_holds_the_median_and_is_wider_where_rounds_differ() -> None:
    close, far = interval([0.99, 1.0, 1.01] * 5), interval([0.8, 1.0, 1.2] * 5)
    assert close[0] <= 1.0 <= close[1]
    assert far[1] - far[0] > close[1] - close[0]
