"""Candidate and champion answer the same rows; the gate hears what came of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.classifier import Classifier
from core.gate import GateDecision, Rule
from core.settings import Settings
from feedback.snapshot import Example, Snapshot
from tests.bundles import LABELS, write_ngram_bundle
from tests.train.toys import install_champion, labelled_texts, toy_rows, write_bundle
from train.judging import judge_candidate, limits_of, scores_of


def _rule(decision: GateDecision, name: str) -> Rule:
    return next(rule for rule in decision.rules if rule.name == name)


def _snapshot(*more: Example) -> Snapshot:
    return Snapshot((*labelled_texts(), *more), "s" * 64)


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    """Give a bundle that is right about every text that names its label."""
    write_bundle(tmp_path / "candidate")
    return tmp_path / "candidate"


def test_the_settings_are_the_gates_limits(settings: Settings) -> None:
    limits = limits_of(settings)
    assert {name: getattr(settings, f"gate_{name}") for name in vars(limits)} == vars(limits)


def test_scores_are_those_that_are_served(taught: Settings, tmp_path: Path) -> None:
    folder = taught.home.registry / "versions" / "v1"
    texts = [f"<b>{row.text}</b>" for row in toy_rows(30)]
    expected = Classifier.load(folder).predict(texts)
    np.testing.assert_allclose(scores_of(folder, texts, tmp_path), expected, atol=0.02)
    np.testing.assert_array_equal(scores_of(folder, texts, tmp_path), scores_of(folder, texts, tmp_path))


def test_the_first_version_has_to_beat_the_commonest_label(settings: Settings, candidate: Path) -> None:
    registry = install_champion(settings)
    decision = judge_candidate(candidate, None, registry, _snapshot(), settings)
    assert decision.promote
    assert decision.champion is None
    assert _rule(decision, "holdout_rows").value == 60
    assert _rule(decision, "beats_majority").limit == pytest.approx(1 / 3)


def test_a_better_candidate_is_promoted_on_the_holdout(settings: Settings, candidate: Path) -> None:
    registry = install_champion(settings, mistaken=True)
    decision = judge_candidate(candidate, "v1", registry, _snapshot(), settings)
    assert decision.promote
    assert "holdout_gain" in decision.summary
    assert "puts 40 right and 0 wrong" in _rule(decision, "accuracy_loss").why


def test_an_equal_candidate_is_not(settings: Settings, candidate: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    decision = judge_candidate(candidate, "v1", registry, _snapshot(), settings)
    assert not decision.promote
    assert decision.summary == "no evidence that it is better"


def test_a_worse_candidate_is_refused(settings: Settings, tmp_path: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    write_bundle(tmp_path / "worse", mistaken=True)
    decision = judge_candidate(tmp_path / "worse", "v1", registry, _snapshot(), settings)
    assert not decision.promote
    assert {"accuracy_loss", "class_floor", "negative_flips"} <= set(decision.summary.replace(",", "").split())


def _corrections(count: int) -> list[Example]:
    """Return corrected texts that name a label that is not theirs, and so are answered wrongly by a true bundle."""
    made = [Example.of(f"correction {place} is neutral", "positive", split="train") for place in range(count)]
    return [replace(example, origin="correction", weight=4.0) for example in made]


def test_corrections_new_to_the_champion_are_evidence(settings: Settings, tmp_path: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    write_bundle(tmp_path / "fixing", mistaken=True)
    decision = judge_candidate(tmp_path / "fixing", "v1", registry, _snapshot(*_corrections(9)), settings)
    rule = _rule(decision, "corrections_fixed")
    assert rule.passed
    assert "of 9 corrections new to the champion it puts 9 right and 0 wrong" in rule.why
    assert _rule(decision, "holdout_rows").value == 60


def test_corrections_the_champion_had_learned_are_none(settings: Settings, tmp_path: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    known = [replace(example, origin="correction") for example in labelled_texts() if example.split == "train"]
    write_bundle(tmp_path / "other", mistaken=True)
    decision = judge_candidate(tmp_path / "other", "v1", registry, _snapshot(*known), settings)
    assert "of 0 corrections" in _rule(decision, "corrections_fixed").why


def test_a_corrected_text_is_never_part_of_the_holdout(settings: Settings, candidate: Path) -> None:
    registry = install_champion(settings)
    corrected = [replace(example, split="test") for example in _corrections(30)]
    decision = judge_candidate(candidate, "v1", registry, _snapshot(*corrected), settings)
    assert _rule(decision, "holdout_rows").value == 60


def test_models_with_other_labels_can_be_compared(settings: Settings, tmp_path: Path) -> None:
    registry = install_champion(settings, mistaken=True)
    write_ngram_bundle(tmp_path / "wider", labels=["furious", *reversed(LABELS)])
    decision = judge_candidate(tmp_path / "wider", "v1", registry, _snapshot(), settings)
    assert decision.promote
    assert "puts 40 right and 0 wrong" in _rule(decision, "accuracy_loss").why
