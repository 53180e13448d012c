"""Whom a candidate is held against for what it may have forgotten: the best that served since a person took over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from core.approvals import Approvals, Signing
from core.bundle import seal
from core.gate import GateDecision
from core.registry import Registry
from core.settings import Settings
from feedback.snapshot import Snapshot
from tests.bundles import write_ngram_bundle
from tests.train.toys import install_champion, labelled_texts, write_bundle
from train.forgetting import best_before
from train.judging import judge_candidate

_WAITS = GateDecision(promote=True, summary="passed", champion="v1", rules=[], mode="approve")


def _register(registry: Registry, accuracy: float, decision: GateDecision | None = None) -> str:
    folder = registry.root / "staged"
    manifest = write_ngram_bundle(folder, seed=len(registry.versions()))
    seal(folder, manifest.model_copy(update={"metrics": {"accuracy": accuracy}}))
    return registry.register(folder, decision, by="test", why="a fixture")


def _serve(registry: Registry, accuracies: Sequence[float], by: str = "gate") -> None:
    for accuracy in accuracies:
        registry.promote(_register(registry, accuracy), by=by, why="")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Give an empty registry."""
    return Registry(tmp_path / "registry")


def test_it_is_the_best_that_served_and_nobody_where_the_champion_is(registry: Registry) -> None:
    _serve(registry, [0.90])
    assert best_before(registry, "v1") is None
    _serve(registry, [0.95, 0.93, 0.92])
    assert best_before(registry, "v4") == "v2"
    # What was never promoted is no measure, however good.
    _register(registry, 0.99)
    assert best_before(registry, "v4") == "v2"
    _serve(registry, [0.96])
    assert best_before(registry, "v6") is None


def test_a_person_who_promotes_by_hand_takes_what_is_forgotten_for_granted(registry: Registry) -> None:
    _serve(registry, [0.95])
    _serve(registry, [0.80], by="ada")
    assert best_before(registry, "v2") is None
    _serve(registry, [0.85, 0.82])
    assert best_before(registry, "v4") == "v3"


def test_an_approval_is_no_such_word(registry: Registry) -> None:
    _serve(registry, [0.95])
    version = _register(registry, 0.90, _WAITS)
    Approvals(registry).approve(version, Signing("ada", "read it"), lambda _: None)
    assert best_before(registry, version) == "v1"


def test_who_is_gone_is_no_measure(registry: Registry) -> None:
    _serve(registry, [0.95, 0.93])
    registry.path("v1").rename(registry.root / "gone")
    assert best_before(registry, "v2") is None


def test_a_candidate_that_forgot_what_an_earlier_version_knew_is_refused(settings: Settings, tmp_path: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    snapshot = registry.manifest("v1").lineage.snapshot
    manifest = write_bundle(tmp_path / "worse", mistaken=True, snapshot=snapshot)
    seal(tmp_path / "worse", manifest.model_copy(update={"metrics": {"accuracy": 0.3}}))
    registry.promote(registry.register(tmp_path / "worse", None, by="test", why=""), by="gate", why="")
    write_bundle(tmp_path / "as bad", mistaken=True)
    rows = Snapshot(tuple(labelled_texts()), "s" * 64)
    decision = judge_candidate(tmp_path / "as bad", "v2", registry, rows, settings)
    (rule,) = [rule for rule in decision.rules if rule.name == "forgetting"]
    assert not rule.passed
    assert "below that of v1" in rule.why
    assert "forgetting" in decision.summary
