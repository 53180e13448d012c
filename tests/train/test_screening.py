"""Corrections on their way to training: screened, held back for reasons, released; and the queue that the learner fills."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from core.quality_bodies import SuspicionDecision
from core.registry import Registry
from core.schemas import CorrectionRequest, PredictionRecord
from core.settings import Settings
from core.text import text_key
from feedback.annotators import annotators_of
from feedback.store import Store
from tests.train.toys import install_champion
from train.frozen import cross_validated
from train.head import FeatureRows
from train.noise import rank
from train.planning import ReviewPlanner
from train.screening import screen_now


@pytest.fixture
def registry(settings: Settings) -> Registry:
    """Give a registry whose champion answers a text with the label it names, and is sure of it."""
    return install_champion(settings, mistaken=False)


def _answered(number: int, score: float, label: str = "positive") -> PredictionRecord:
    """Return the record of an answer of the champion."""
    text = f"live {number} {label}"
    return PredictionRecord(
        prediction_id=f"p{number}",
        created_at=datetime.now(UTC),
        text=text,
        text_key=text_key(text),
        label=label,
        score=score,
        model_version="v1",
        source="head",
    )


@pytest.fixture
def logged(store: Store) -> Store:
    """Give a store with predictions of the champion: p0 to p19, of which p7 is the least certain."""
    store.log_predictions([_answered(number, 0.4 if number == 7 else 0.99) for number in range(20)])
    return store


def _learned(settings: Settings, store: Store, registry: Registry) -> dict[str, str]:
    return {word.text: word.label for word in screen_now(settings, store, registry, "v1").corrections}


def test_what_contradicts_a_sure_answer_waits_and_what_contradicts_an_unsure_one_does_not(
    settings: Settings, logged: Store, registry: Registry
) -> None:
    held = logged.add_correction(CorrectionRequest(prediction_id="p1", label="negative"))
    logged.add_correction(CorrectionRequest(prediction_id="p7", label="negative"))
    assert _learned(settings, logged, registry) == {"live 7 positive": "negative"}
    (found,) = logged.quarantined().suspicions
    assert found.correction.correction_id == held.correction_id
    assert [reason.rule for reason in found.reasons] == ["contradicts_model"]
    assert (found.model_version, found.model_label, found.model_score) == ("v1", "positive", 0.99)
    logged.decide_suspicion(held.correction_id, SuspicionDecision(decision="release", by="op", why="right"))
    assert _learned(settings, logged, registry) == {"live 1 positive": "negative", "live 7 positive": "negative"}


def test_a_second_voice_lets_a_correction_through(settings: Settings, logged: Store, registry: Registry) -> None:
    logged.add_correction(CorrectionRequest(prediction_id="p1", label="negative", annotator="ann"))
    assert _learned(settings, logged, registry) == {}
    logged.add_correction(CorrectionRequest(text="live 1 positive", label="negative", annotator="ben"))
    assert _learned(settings, logged, registry) == {"live 1 positive": "negative"}
    assert logged.quarantined().total == 0


def test_who_says_the_opposite_of_what_the_audit_drew_is_held_back_with_all_else_they_say(
    settings: Settings, store: Store, registry: Registry
) -> None:
    other = {"positive": "negative", "negative": "positive"}
    store.log_predictions([_answered(number, 0.8, list(other)[number % 2]) for number in range(45)])
    store.draw_audit(1.0, None)
    for who in ("ann", "ben", "eve"):
        for item in store.next_review(who, 15, {"audit": 1.0, "suspect": 0.0, "uncertain": 0.0}, 600.0).items:
            task = store.review_task(item.item_id, who)
            right = item.text.split()[-1]
            label = other[right] if who == "eve" else right
            store.add_correction(CorrectionRequest(prediction_id=task.prediction_id, label=label, annotator=who))
            store.finish_review(item.item_id, who, label)
    store.add_correction(CorrectionRequest(text="unasked, of eve", label="negative", annotator="eve"))
    learned = _learned(settings, store, registry)
    assert len(learned) == 30
    assert all(text.endswith(label) for text, label in learned.items())
    held = store.quarantined().suspicions
    assert {(item.correction.annotator, item.reasons[0].rule) for item in held} == {("eve", "contrary_annotator")}
    listed = {item.annotator: item for item in annotators_of(store, settings.suspect_contrary_ratio).annotators}
    assert [who for who, item in listed.items() if item.contrary] == ["eve"]
    assert listed["eve"].accuracy < 0.25
    assert len(_learned(settings.model_copy(update={"suspect_contrary_ratio": 1.0}), store, registry)) == 46


def test_texts_without_an_answer_are_judged_by_the_champion(settings: Settings, store: Store, registry: Registry) -> None:
    changed = settings.model_copy(update={"suspect_model_score": 0.5})
    store.add_correction(CorrectionRequest(text="never asked, positive", label="negative"))
    # A text that the champion was taught says nothing: it repeats what it was told.
    store.add_correction(CorrectionRequest(text="number 0 is positive", label="negative"))
    assert _learned(changed, store, registry) == {"number 0 is positive": "negative"}


def test_the_holdout_stands_against_a_correction(settings: Settings, store: Store, registry: Registry) -> None:
    store.add_correction(CorrectionRequest(text="number 1 is positive", label="negative"))
    assert _learned(settings, store, registry) == {}
    rules = {reason.rule for found in store.quarantined().suspicions for reason in found.reasons}
    assert "contradicts_holdout" in rules


def test_the_planner_fills_all_strata(settings: Settings, logged: Store, registry: Registry) -> None:
    logged.add_correction(CorrectionRequest(prediction_id="p1", label="negative"))
    changed = settings.model_copy(update={"audit_ratio": 0.3, "review_queue_items": 5})
    planner = ReviewPlanner(changed, logged)
    assert planner.fill() == 5
    assert planner.fill() == 0
    shares = {"audit": 0.3, "suspect": 0.3, "uncertain": 0.4}
    answer = logged.next_review("ann", 100, shares, 60.0)  # type: ignore[arg-type] # literal keys
    assert answer.open["suspect"] == 1
    assert answer.open["uncertain"] == 5
    assert 1 <= answer.open["audit"] <= 15
    assert len({item.item_id for item in answer.items}) == len(answer.items) == sum(answer.open.values())


def test_planted_flips_are_found_by_a_head_that_has_not_seen_them() -> None:
    chance = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 100)
    centres = np.eye(3, 16)[truth]
    embeddings = (centres + chance.normal(0, 0.25, (300, 16))).astype(np.float32)
    flipped = chance.permutation(300)[:30]
    labels = truth.copy()
    labels[flipped] = (truth[flipped] + 1) % 3
    scores = cross_validated(FeatureRows(embeddings, None), labels, classes=3)
    assert scores.sum(axis=1) == pytest.approx(np.ones(300), abs=1e-4)
    ranked, gap = rank(scores, labels)
    assert len(set(ranked[:30].tolist()) & set(flipped.tolist())) >= 24
    assert list(gap[ranked]) == sorted(gap, reverse=True)
