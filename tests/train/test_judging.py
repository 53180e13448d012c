"""Candidate and champion answer the same rows; the gate hears what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from core.bundle import HEAD, seal
from core.classifier import Classifier, Head
from core.gate import GateDecision, Rule
from core.gate_statistics import spending
from core.schemas import FitSpeed
from core.settings import Settings
from feedback.erasing import forget_embeddings
from feedback.examples import remove_examples, save_examples
from feedback.snapshot import Example, Snapshot
from tests.bundles import LABELS, write_ngram_bundle
from tests.train.toys import install_champion, labelled_texts, toy_rows, write_bundle, write_out_of_fold
from train.judging import judge_candidate, limits_of
from train.label_shift import LabelShift
from train.scoring import scores_of


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
    assert "puts 40 right and 0 wrong" in _rule(decision, "holdout_loss").why


def test_a_decision_keeps_what_its_report_shows(settings: Settings, candidate: Path) -> None:
    registry = install_champion(settings, mistaken=True)
    decision = judge_candidate(candidate, "v1", registry, _snapshot(), settings)
    assert decision.holdout is not None
    assert (decision.holdout.rows, decision.holdout.better, decision.holdout.worse) == (60, 40, 0)
    assert sum(found.better or 0 for found in decision.classes) == 40
    assert decision.reliability is not None
    for bins in (decision.reliability.champion, decision.reliability.candidate):
        assert sum(one.rows for one in bins) == 60
    assert {one.right_ratio for one in decision.reliability.candidate} == {1.0}


def test_following_the_mix_of_labels_in_traffic_loses_nothing_on_the_holdout(settings: Settings, tmp_path: Path) -> None:
    """Its rows are of another mix; what following is worth is asked of rows that chance drew from traffic."""
    registry = install_champion(settings, mistaken=False)
    folder = tmp_path / "shifted"
    manifest = write_bundle(folder, mistaken=False)
    shift = LabelShift({"positive": 8.0})
    shift.applied(Head.load(folder / HEAD), manifest.labels, manifest.temperature).save(folder / HEAD)
    seal(folder, manifest.model_copy(update={"probes": []}))
    assert not _rule(judge_candidate(folder, "v1", registry, _snapshot(), settings), "holdout_loss").passed
    shift.save(folder)
    seal(folder, manifest.model_copy(update={"probes": []}))
    said = _corrections(12)
    write_out_of_fold(settings, folder, {example.text_key: "positive" for example in said})
    audited = {example.text_key for example in said}
    decision = judge_candidate(folder, "v1", registry, _snapshot(*said), settings, audited=audited)
    assert _rule(decision, "holdout_loss").value == 0.0
    assert _rule(decision, "holdout_loss").passed
    assert "recent_gain" in decision.summary
    assert decision.promote


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
    assert {"holdout_loss", "class_floor", "negative_flips"} <= set(decision.summary.replace(",", "").split())


def _corrections(count: int) -> list[Example]:
    """Return corrected texts that name a label that is not theirs, and so are answered wrongly by a true bundle."""
    made = [Example.of(f"correction {place} is neutral", "positive", split="train") for place in range(count)]
    return [replace(example, origin="correction", weight=4.0) for example in made]


def test_corrections_new_to_the_champion_are_evidence_by_what_the_fit_would_say_without_them(
    settings: Settings, tmp_path: Path
) -> None:
    registry = install_champion(settings, mistaken=False)
    write_bundle(tmp_path / "fixing", mistaken=True)
    corrected = _corrections(9)
    # Without an answer that does not come from having learned them they say nothing.
    none = judge_candidate(tmp_path / "fixing", "v1", registry, _snapshot(*corrected), settings)
    assert "corrections_fixed" not in [rule.name for rule in none.rules]
    write_out_of_fold(settings, tmp_path / "fixing", {example.text_key: "positive" for example in corrected})
    decision = judge_candidate(tmp_path / "fixing", "v1", registry, _snapshot(*corrected), settings)
    assert "puts 9 of 9 corrected answers right that it did not learn from" in _rule(decision, "corrections_fixed").why
    assert _rule(decision, "holdout_rows").value == 60


def test_what_chance_drew_is_evidence_of_its_own(settings: Settings, tmp_path: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    write_bundle(tmp_path / "fixing", mistaken=False)
    drawn = [*_corrections(12)]
    write_out_of_fold(settings, tmp_path / "fixing", {example.text_key: "positive" for example in drawn})
    audited = {example.text_key for example in drawn}
    decision = judge_candidate(tmp_path / "fixing", "v1", registry, _snapshot(*drawn), settings, audited=audited)
    assert _rule(decision, "recent_gain").passed
    assert "12 against 0 of 12 recent predictions" in _rule(decision, "recent_gain").why
    assert decision.promote


def test_rows_kept_from_the_encoder_are_asked_of_the_candidate_itself(settings: Settings, tmp_path: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    write_bundle(tmp_path / "fixing", mistaken=True, speed="full")
    drawn = [replace(example, split="test") for example in _corrections(12)]
    audited = {example.text_key for example in drawn}
    decision = judge_candidate(tmp_path / "fixing", "v1", registry, _snapshot(*drawn), settings, audited=audited)
    assert "12 against 0 of 12 recent predictions" in _rule(decision, "recent_gain").why


def test_corrections_the_champion_had_learned_are_none(settings: Settings, tmp_path: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    known = [replace(example, origin="correction") for example in labelled_texts() if example.split == "train"]
    write_bundle(tmp_path / "other", mistaken=True)
    write_out_of_fold(settings, tmp_path / "other", {example.text_key: example.label for example in known})
    decision = judge_candidate(tmp_path / "other", "v1", registry, _snapshot(*known), settings)
    assert "corrections_fixed" not in [rule.name for rule in decision.rules]


def _looks(decision: GateDecision) -> tuple[int, int]:
    return decision.looks.holdout_looks, decision.looks.recent_looks


def test_looks_at_the_same_rows_are_counted_whatever_becomes_of_the_candidate(settings: Settings, candidate: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    for look in (1, 2, 3):
        decision = judge_candidate(candidate, "v1", registry, _snapshot(), settings)
        assert _looks(decision) == (look, look)
        assert _rule(decision, "holdout_gain").limit == pytest.approx(0.05 * spending(look))


def test_a_head_that_recent_rows_do_not_speak_for_wears_the_holdout_a_tenth(
    settings: Settings, candidate: Path, tmp_path: Path
) -> None:
    registry = install_champion(settings, mistaken=False)
    drawn = [Example.of(f"drawn {place} is neutral", "neutral", split="train") for place in range(40)]
    said = [replace(example, origin="confirmation") for example in drawn]
    audited = {example.text_key for example in said}
    # As sure of the right label as the champion is, or by turns more and less so.
    write_out_of_fold(settings, candidate, {example.text_key: "neutral" for example in said})

    def judged(folder: Path) -> GateDecision:
        return judge_candidate(folder, "v1", registry, _snapshot(*said), settings, audited=audited)

    first, second = judged(candidate), judged(candidate)
    assert [one.looks.holdout_weight for one in (first, second)] == [0.1, 0.1]
    assert second.looks.weights == pytest.approx(0.2)
    assert _looks(second) == (2, 2)
    level = 0.025 * spending(0.2, 0.1)
    assert _rule(second, "holdout_gain").limit == pytest.approx(level)
    # One that nothing was audited for counts as ever, after a fifth of a look.
    write_bundle(tmp_path / "other")
    third = judge_candidate(tmp_path / "other", "v1", registry, _snapshot(), settings)
    assert third.looks.weights == pytest.approx(1.2)
    assert _rule(third, "holdout_gain").limit == pytest.approx(0.05 * spending(1.2))


def _kept(settings: Settings, examples: Sequence[Example]) -> Snapshot:
    return Snapshot(tuple(examples), save_examples(settings.home.snapshots, examples))


def test_a_holdout_that_shares_half_of_its_rows_goes_on_with_the_count(settings: Settings, candidate: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    rows = labelled_texts()
    held_out = [row for row in rows if row.split == "test"]
    training = [row for row in rows if row.split != "test"]
    first = _kept(settings, rows)
    assert _looks(judge_candidate(candidate, "v1", registry, first, settings)) == (1, 1)
    # A text was erased, also from what the first run saw.
    gone = held_out[0].text_key
    remove_examples(settings.home.snapshots, first.hash, lambda example: example.text_key == gone)
    erased = _kept(settings, [*training, *held_out[1:]])
    assert _looks(judge_candidate(candidate, "v1", registry, erased, settings)) == (2, 2)
    # Half of it is new; it goes on with the count, and so does what shares half with that.
    new = [Example.of(f"new row {place} is {LABELS[place % 3]}", LABELS[place % 3], split="test") for place in range(90)]
    half = _kept(settings, [*training, *held_out[1:31], *new[:30]])
    assert _looks(judge_candidate(candidate, "v1", registry, half, settings)) == (3, 3)
    other = _kept(settings, [*training, *held_out[31:40], *new[30:]])
    assert _looks(judge_candidate(candidate, "v1", registry, other, settings)) == (1, 4)
    assert _looks(judge_candidate(candidate, "v1", registry, other, settings)) == (2, 5)


def test_an_earlier_holdout_that_nobody_can_read_any_more_counts(settings: Settings, candidate: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    first = _kept(settings, labelled_texts()[:-1])
    judge_candidate(candidate, "v1", registry, first, settings)
    path = settings.home.snapshots / f"{first.hash}.parquet"
    path.chmod(0o644)
    path.unlink()
    assert _looks(judge_candidate(candidate, "v1", registry, _kept(settings, labelled_texts()[:-2]), settings)) == (2, 2)


def test_a_crash_while_it_is_judged_has_used_up_a_look(
    settings: Settings, candidate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = install_champion(settings, mistaken=False)

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("train.judging.decide", crash)
        with pytest.raises(KeyboardInterrupt):
            judge_candidate(candidate, "v1", registry, _snapshot(), settings)
    # A line that the crash cut short is no look.
    with (registry.root / "looks.jsonl").open("ab") as file:
        file.write(b'{"at": "2026')
    assert _looks(judge_candidate(candidate, "v1", registry, _snapshot(), settings)) == (2, 2)
    assert _looks(judge_candidate(candidate, "v1", registry, _snapshot(), settings)) == (3, 3)


def test_looks_that_earlier_releases_kept_in_decisions_count(settings: Settings, candidate: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    decision = judge_candidate(candidate, "v1", registry, _snapshot(), settings)
    (registry.root / "looks.jsonl").unlink()
    again = candidate.parent / "copy"
    write_bundle(again)
    registry.register(again, decision, by="test", why="a look")
    assert _looks(judge_candidate(candidate, "v1", registry, _snapshot(), settings)) == (2, 2)


def test_a_head_has_learned_them_and_is_asked_out_of_fold_or_not_at_all(settings: Settings, tmp_path: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    write_bundle(tmp_path / "fixing", mistaken=True)
    drawn = [replace(example, split="test") for example in _corrections(12)]
    audited = {example.text_key for example in drawn}
    decision = judge_candidate(tmp_path / "fixing", "v1", registry, _snapshot(*drawn), settings, audited=audited)
    assert "recent_gain" not in {rule.name for rule in decision.rules}
    write_out_of_fold(settings, tmp_path / "fixing", {example.text_key: "positive" for example in drawn[:9]})
    decision = judge_candidate(tmp_path / "fixing", "v1", registry, _snapshot(*drawn), settings, audited=audited)
    assert "9 against 0 of 9 recent predictions" in _rule(decision, "recent_gain").why


@pytest.mark.parametrize("speed", ["head", "full"])
def test_what_the_champion_was_judged_by_is_not_asked_again(settings: Settings, tmp_path: Path, speed: FitSpeed) -> None:
    registry = install_champion(settings, mistaken=False)
    write_bundle(tmp_path / "fixing", mistaken=True, speed="full")
    drawn = [replace(example, split="test") for example in _corrections(12)]
    seen = save_examples(settings.home.snapshots, [*labelled_texts(), *drawn[:5]])
    write_bundle(tmp_path / "judged", mistaken=False, snapshot=seen, speed=speed)
    registry.promote(registry.register(tmp_path / "judged", None, by="test", why=""), by="test", why="")
    audited = {example.text_key for example in drawn}
    decision = judge_candidate(tmp_path / "fixing", "v2", registry, _snapshot(*drawn), settings, audited=audited)
    assert "7 against 0 of 7 recent predictions" in _rule(decision, "recent_gain").why


def test_what_chance_drew_before_speaks_again_out_of_fold(settings: Settings, tmp_path: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    drawn = _corrections(60)
    seen = save_examples(settings.home.snapshots, [*labelled_texts(), *drawn[:40]])
    write_bundle(tmp_path / "judged", mistaken=False, snapshot=seen)
    write_out_of_fold(settings, tmp_path / "judged", {row.text_key: "neutral" for row in drawn[:40]})
    registry.promote(registry.register(tmp_path / "judged", None, by="test", why=""), by="test", why="")
    write_bundle(tmp_path / "fixing", mistaken=False)
    said = {row.text_key: "neutral" if place % 2 else "positive" for place, row in enumerate(drawn)}
    write_out_of_fold(settings, tmp_path / "fixing", said)
    audited = {row.text_key for row in drawn}
    decision = judge_candidate(tmp_path / "fixing", "v2", registry, _snapshot(*drawn), settings, audited=audited)
    assert "chance that 60 predictions" in _rule(decision, "recent_gain").why
    assert "30 are put right and 0 wrong" in _rule(decision, "recent_gain").why
    # The champion's own answers are gone: what it learned by heart tells nothing.
    forget_embeddings(settings.home)
    write_out_of_fold(settings, tmp_path / "fixing", said)
    fewer = judge_candidate(tmp_path / "fixing", "v2", registry, _snapshot(*drawn), settings, audited=audited)
    assert "of 20 recent predictions" in _rule(fewer, "recent_gain").why


def test_what_the_encoder_was_trained_on_tells_nothing_of_a_head_over_it(settings: Settings, tmp_path: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    drawn = _corrections(60)
    for name, speed, parent, known in (("tuned", "full", "v1", drawn[:20]), ("judged", "head", "v2", drawn[:40])):
        seen = save_examples(settings.home.snapshots, [*labelled_texts(), *known])
        write_bundle(tmp_path / name, mistaken=False, snapshot=seen, speed=cast("FitSpeed", speed), parent=parent)
        if speed == "head":
            write_out_of_fold(settings, tmp_path / name, {row.text_key: "neutral" for row in known})
        registry.promote(registry.register(tmp_path / name, None, by="test", why=""), by="test", why="")
    write_bundle(tmp_path / "fixing", mistaken=False, parent="v3")
    write_out_of_fold(settings, tmp_path / "fixing", {row.text_key: "positive" for row in drawn})
    audited = {row.text_key for row in drawn}
    decision = judge_candidate(tmp_path / "fixing", "v3", registry, _snapshot(*drawn), settings, audited=audited)
    # Twenty are new, twenty the champion's head has learned, and twenty its encoder.
    assert "chance that 40 predictions" in _rule(decision, "recent_gain").why


def test_a_worn_holdout_says_so(settings: Settings, candidate: Path) -> None:
    registry = install_champion(settings, mistaken=True)
    decision = judge_candidate(candidate, "v1", registry, _snapshot(), settings)
    assert decision.looks.worn
    # 40 of 60 rows differ: of so few a fourteenth point takes all luck there is.
    assert decision.looks.least_gain_ratio == pytest.approx(14 / 60)


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
    assert "puts 40 right and 0 wrong" in _rule(decision, "holdout_loss").why


def test_a_label_the_champion_does_not_know_is_judged_on_its_own_rows(settings: Settings, tmp_path: Path) -> None:
    registry = install_champion(settings, mistaken=False)
    write_ngram_bundle(tmp_path / "wider", labels=["furious", *reversed(LABELS)])
    held_out = [Example.of(f"row {place} is furious", "furious", split="test") for place in range(8)]
    learned = [Example.of(f"said {place} is furious", "furious", split="train") for place in range(4)]
    new = [replace(example, origin="correction") for example in (*held_out, *learned)]
    # One of the four that were learned was not told from the others without it.
    answers = dict.fromkeys((example.text_key for example in new), "furious") | {learned[0].text_key: "neutral"}
    write_out_of_fold(settings, tmp_path / "wider", answers)
    base = Example.of("a base row is furious", "furious", split="test")
    decision = judge_candidate(tmp_path / "wider", "v1", registry, _snapshot(*new, base), settings)
    assert "of 13 rows whose labels the champion does not know it puts 12 right" in _rule(decision, "new_classes_learned").why
    assert "and calls 0 of 60 holdout rows by such a label" in _rule(decision, "new_classes_learned").why
    assert _rule(decision, "new_classes").passed
    assert _rule(decision, "new_classes").value == pytest.approx(12 / 13)
    assert "corrections_fixed" not in [rule.name for rule in decision.rules]
    assert _rule(decision, "holdout_rows").value == 60
