"""Two classifiers on one Ray: each answers as it was taught, and while one is flooded the other goes on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import pytest

from core.registry import Registry
from core.settings import Settings
from deploy.client import ServiceClient
from deploy.clusters.serve_config import classifiers, serve_config
from tests.bundles import register_ngram_bundle
from tests.deploy.test_clusters_ray import _answers, _until, dashboard, deploy

__all__ = ["dashboard"]

pytestmark = pytest.mark.integration

_LABELS = {"reviews": ["good", "bad"], "intents": ["refund", "delivery"]}


@pytest.fixture
def both(settings: Settings) -> list[Settings]:
    """Give the settings of two classifiers with other labels; of the first, few texts may wait."""
    tight = settings.model_copy(update={"queue_max_texts": 20, "queue_max_wait_s": 0.05})
    made = classifiers(tight, list(_LABELS))
    for one in made:
        one.home.prepare()
        registry = Registry(one.home.registry)
        registry.promote(register_ngram_bundle(registry, labels=_LABELS[one.name]), by="test", why="a fixture")
    return made


@contextmanager
def flooded(settings: Settings) -> Iterator[Counter[int]]:
    """Send one classifier more than it can answer, and count what it says."""
    stop, seen = threading.Event(), Counter[int]()

    def ask() -> None:
        with httpx.Client(base_url=settings.url, trust_env=False, timeout=60) as http:
            while not stop.is_set():
                seen[http.post("/v1/predict", json={"texts": ["good " * 200] * 19}).status_code] += 1

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    try:
        _until(lambda: seen[429] >= 20)
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_each_answers_for_itself_while_the_other_is_flooded(dashboard: str, both: list[Settings]) -> None:
    reviews, intents = both
    deploy(dashboard, serve_config(*both))
    for one in both:
        _until(partial(_answers, one.url))
    for one in both:
        for label in _LABELS[one.name]:
            assert ServiceClient(one).predict(f"so {label}").label == label
    with flooded(reviews) as seen:
        answers = [httpx.post(f"{intents.url}/v1/predict", json={"text": "my refund"}, timeout=60) for _ in range(30)]
    assert [answer.status_code for answer in answers] == [200] * 30
    assert {answer.json()["label"] for answer in answers} == {"refund"}
    assert set(seen) == {200, 429}
    # What one is asked and told, the other's counters, store and versions know nothing of.
    told = {one.name: httpx.get(f"{one.url}/metrics").text for one in both}
    assert 'hone_refused_total{code="overloaded"}' in told["reviews"]
    assert 'status="429"' not in told["intents"]
    assert {one.name: httpx.get(f"{one.url}/v1/status").json()["labels"] for one in both} == _LABELS
