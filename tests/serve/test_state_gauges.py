"""What is known rather than counted: gauges from the state folder, whichever process found it out."""

from __future__ import annotations

import pytest

from core.gate import GateDecision, Looks
from core.metrics import Metrics
from core.registry import Registry
from core.settings import Settings
from feedback.spool import Spool
from serve.state_gauges import read_disk, show_disk
from tests.bundles import register_ngram_bundle


def _shown(registry: Registry, settings: Settings) -> dict[str, float | None]:
    metrics = Metrics()
    show_disk(metrics, read_disk(registry, Spool(settings.home.spool, 0)), 0)
    names = ("hone_holdout_looks", "hone_gate_least_gain_ratio", "hone_holdout_worn", "hone_approval_waiting_seconds")
    return {name.removeprefix("hone_"): metrics.registry.get_sample_value(name) for name in names}


@pytest.mark.parametrize(
    ("looks", "least", "worn"),
    [
        (Looks(holdout="h", holdout_looks=2, least_gain_ratio=0.011), 0.011, 0.0),
        (Looks(holdout="h", holdout_looks=40, least_gain_ratio=0.021, worn=True), 0.021, 1.0),
        # A holdout that never could show it was not worn out by looking.
        (Looks(holdout="h", holdout_looks=40, worn=True, too_small=True), 1.0, 0.0),
    ],
)
def test_the_holdout_is_told_of_by_the_latest_decision(settings: Settings, looks: Looks, least: float, worn: float) -> None:
    settings.home.prepare()
    registry = Registry(settings.home.registry)
    register_ngram_bundle(registry)
    assert _shown(registry, settings)["holdout_looks"] == 0
    for seed, found in enumerate((Looks(holdout="h"), looks), 1):
        decision = GateDecision(promote=False, summary="no evidence", champion="v1", rules=[], looks=found)
        register_ngram_bundle(registry, seed=seed, decision=decision)
    # One that nobody judged says nothing of the holdout.
    register_ngram_bundle(registry, seed=7)
    shown = _shown(registry, settings)
    assert shown["holdout_looks"] == looks.holdout_looks
    assert shown["gate_least_gain_ratio"] == least
    assert shown["holdout_worn"] == worn
    assert shown["approval_waiting_seconds"] == 0.0
