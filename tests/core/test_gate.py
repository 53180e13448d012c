"""The gate: each rule, the test behind them, and how often whole decisions are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.gate import (
    NO_ANSWERS,
    Answers,
    Evidence,
    FloatVector,
    GateDecision,
    GateLimits,
    IntVector,
    Looks,
    Make,
    Rule,
    decide,
    decide_first,
)
from core.gate_evidence import promising
from core.gate_statistics import least_gain, mcnemar, sign_flips, spending

_LABELS = ["a", "b", "c"]
_DEFAULTS = GateLimits()


def answers(right: int = 0, better: int = 0, worse: int = 0, wrong: int = 0, *, label: int = 0) -> Answers:
    """Return rows of one label that both, only the candidate, only the champion, or neither of the models answer rightly."""
    truth = np.full(right + better + worse + wrong, label, dtype=np.int64)
    champion, candidate = truth.copy(), truth.copy()
    champion[right : right + better] = (label + 1) % len(_LABELS)
    candidate[right + better : right + better + worse] = (label + 1) % len(_LABELS)
    champion[len(truth) - wrong :] = candidate[len(truth) - wrong :] = -1
    return Answers(truth, champion, candidate)


def _join(*parts: Answers) -> Answers:
    return Answers(
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.champion for part in parts]),
        np.concatenate([part.candidate for part in parts]),
    )


def _decide(
    holdout: Answers,
    corrections: Answers = NO_ANSWERS,
    parity_ratio: float = 1.0,
    limits: GateLimits = _DEFAULTS,
    *,
    recent: Answers = NO_ANSWERS,
    looks: int = 1,
    make: Make | None = None,
    slices: dict[str, IntVector] | None = None,
    new: Answers = NO_ANSWERS,
    before: Answers | None = None,
    earlier: Answers = NO_ANSWERS,
    seen: Looks | None = None,
) -> GateDecision:
    seen = seen or Looks(holdout_looks=looks, recent_looks=looks)
    past = None if before is None else ("v0", before)
    evidence = Evidence(holdout, recent, corrections, new, past, slices or {}, seen, earlier)
    return decide(evidence, make or Make(parity_ratio), labels=_LABELS, champion="v1", limits=limits)


def _rule(decision: GateDecision, name: str) -> Rule:
    (rule,) = [rule for rule in decision.rules if rule.name == name]
    return rule


# McNemar's test


# The other tests


def _drawn_rows(gains: list[float], better: int = 0, worse: int = 0) -> Answers:
    found = answers(len(gains) - better - worse, better, worse)
    return replace(found, gains=np.array(gains))


@pytest.mark.parametrize(
    ("evidence", "promising_one"),
    [
        (Evidence(answers(100)), True),
        (Evidence(answers(100), recent=_drawn_rows([-0.1] * 20)), True),
        (Evidence(answers(100), recent=_drawn_rows([0.1, -0.1] * 50)), False),
        (Evidence(answers(100), recent=_drawn_rows([0.1] * 40)), True),
        # Likelier, but fewer are right.
        (Evidence(answers(100), recent=_drawn_rows([0.1] * 40, 1, 2)), False),
        (Evidence(answers(100), recent=_drawn_rows([0.1, -0.1] * 50), earlier=_drawn_rows([0.2, -0.1] * 400)), True),
        (Evidence(answers(100), recent=_drawn_rows([0.1, -0.1] * 50), new=answers(0, 3)), True),
        (Evidence(answers(100), recent=_drawn_rows([0.1, -0.1] * 50, 1, 1), corrections=answers(0, 12, 0, 3)), True),
        (Evidence(answers(100), recent=_drawn_rows([0.1, -0.1] * 50, 9, 1), corrections=answers(0, 1, 0, 9)), False),
    ],
)
def test_a_candidate_is_promising_unless_rows_outside_the_holdout_tell_otherwise(
    evidence: Evidence, promising_one: bool
) -> None:
    assert promising(evidence) is promising_one


def test_a_lighter_look_wears_the_holdout_less() -> None:
    light = Looks(holdout_looks=11, holdout_weight=0.1, holdout_weights=1.1)
    level = next(rule.limit for rule in _decide(answers(960, 25, 15), seen=light).rules if rule.name == "holdout_gain")
    assert level == pytest.approx(0.05 * (1.1 / 2.1 - 0.5))
    # What it says of the holdout is what the holdout could show of one that more speaks for.
    full = Looks(holdout_looks=11, holdout_weights=2.0)
    assert (
        _decide(answers(960, 25, 15), seen=light).looks.least_gain_ratio
        == _decide(answers(960, 25, 15), seen=full).looks.least_gain_ratio
    )


def test_looking_wears_a_holdout_out() -> None:
    fresh = _decide(answers(2960, 25, 15)).looks
    assert not fresh.worn
    assert fresh.least_gain_ratio == pytest.approx(0.0047, abs=2e-3)
    used_up = _decide(answers(960, 25, 15), looks=30).looks
    assert (used_up.worn, used_up.too_small) == (True, False)
    # Of equals on 300 rows six would have to differ in one direction.
    assert not _decide(answers(300)).looks.worn
    tired = _decide(answers(300), looks=2).looks
    assert (tired.worn, tired.least_gain_ratio, tired.too_small) == (True, None, False)
    few = _decide(answers(100)).looks
    assert (few.worn, few.too_small) == (True, True)
    # By the level, whatever else the rule asks for.
    assert _decide(answers(250, 26, 12, 12)).looks.least_gain_ratio == pytest.approx(14 / 300)


# Each rule


@pytest.mark.parametrize(
    ("name", "passes", "fails"),
    [
        ("holdout_rows", lambda: _decide(answers(30, 20)), lambda: _decide(answers(29, 20))),
        ("parity", lambda: _decide(answers(999), parity_ratio=0.99), lambda: _decide(answers(999), parity_ratio=0.9899)),
        ("holdout_loss", lambda: _decide(answers(990, 0, 5, 5)), lambda: _decide(answers(990, 0, 6, 4))),
        (
            "recent_loss",
            lambda: _decide(answers(1000), recent=answers(90, 5, 9)),
            lambda: _decide(answers(1000), recent=answers(90, 0, 9)),
        ),
        (
            "slice_floor",
            lambda: _decide(_join(answers(90, 0, 10), answers(900, 20)), slices={"short": np.arange(100)}),
            lambda: _decide(_join(answers(89, 0, 11), answers(900, 20)), slices={"short": np.arange(100)}),
        ),
        (
            "calibration",
            lambda: _decide(answers(1000), make=Make(1.0, calibration=(0.02, 0.06))),
            lambda: _decide(answers(1000), make=Make(1.0, calibration=(0.02, 0.08))),
        ),
        (
            "size",
            lambda: _decide(answers(1000), make=Make(1.0, size_ratio=2.0)),
            lambda: _decide(answers(1000), make=Make(1.0, size_ratio=2.1)),
        ),
        (
            "latency",
            lambda: _decide(answers(1000), make=Make(1.0, latency_ratio=0.5)),
            lambda: _decide(answers(1000), make=Make(1.0, latency_ratio=2.1)),
        ),
        (
            "class_floor",
            # 10 of 100 rows of one class lost is the limit; one more is over it.
            lambda: _decide(_join(answers(90, 0, 10, label=1), answers(900, 20))),
            lambda: _decide(_join(answers(89, 0, 11, label=1), answers(900, 20))),
        ),
        ("negative_flips", lambda: _decide(answers(900, 50, 50)), lambda: _decide(answers(899, 50, 51))),
        # Beyond that, half of 0.7 · 0.3, which is what two models would turn that are right about 700 of 1000 independently.
        ("negative_flips", lambda: _decide(answers(595, 105, 105, 195)), lambda: _decide(answers(594, 106, 106, 194))),
        # One-sided exact: 5 to 0 is 1/32, 6 to 0 is 1/64; half of alpha 0.05, for the first look, lies between.
        ("holdout_gain", lambda: _decide(answers(1000, 6)), lambda: _decide(answers(1000, 5))),
        # The second look may use a sixth: 7 to 0, 1/128, passes and 6 to 0 does not.
        ("holdout_gain", lambda: _decide(answers(1000, 7), looks=2), lambda: _decide(answers(1000, 6), looks=2)),
        # Two kinds of evidence share alpha.
        (
            "recent_gain",
            lambda: _decide(answers(1000), recent=answers(90, 7)),
            lambda: _decide(answers(1000), recent=answers(90, 6)),
        ),
        (
            "corrections_fixed",
            lambda: _decide(answers(900, 10, 0, 90), answers(0, 9, 0, 11)),
            lambda: _decide(answers(900, 40, 0, 60), answers(0, 9, 0, 11)),
        ),
    ],
)
def test_each_rule_passes_at_its_limit_and_fails_beyond(
    name: str, passes: Callable[[], GateDecision], fails: Callable[[], GateDecision]
) -> None:
    assert _rule(passes(), name).passed
    assert not _rule(fails(), name).passed


@pytest.mark.parametrize(
    ("decision", "summary"),
    [
        (lambda: _decide(answers(1000, 20)), "passed on holdout_gain"),
        (lambda: _decide(answers(1000, 0, 0, 50), answers(2, 20, 1)), "passed on corrections_fixed"),
        (lambda: _decide(answers(1000), recent=answers(100, 20)), "passed on recent_gain"),
        (lambda: _decide(answers(1000, 20), recent=answers(10, 20)), "passed on holdout_gain, recent_gain"),
        (lambda: _decide(answers(1000)), "no evidence that it is better"),
        (lambda: _decide(answers(1000, 5, 5), answers(9, 1)), "no evidence that it is better"),
        (lambda: _decide(answers(940, 0, 60), answers(0, 90)), "failed holdout_loss, negative_flips"),
        (lambda: _decide(answers(20, 20), parity_ratio=0.5), "failed holdout_rows, parity"),
        (lambda: _decide(NO_ANSWERS, answers(0, 90)), "failed holdout_rows"),
        (lambda: _decide(answers(1000, 20), parity_ratio=float("nan")), "failed parity"),
    ],
)
def test_a_decision_says_on_what_it_rests(decision: Callable[[], GateDecision], summary: str) -> None:
    made = decision()
    assert made.summary.startswith(summary)
    assert made.promote == summary.startswith("passed")
    assert made.champion == "v1"


def test_rules_say_their_value_limit_and_reason() -> None:
    decision = _decide(answers(930, 40, 20, 10), answers(1, 8, 1, 2), 0.995, recent=answers(80, 12, 3))
    said = {rule.name: (rule.kind, rule.limit, rule.why) for rule in decision.rules}
    level = pytest.approx(0.05 / 3 / 2)
    assert said == {
        "holdout_rows": ("required", 50, "1000 holdout rows to judge on"),
        "parity": ("required", 0.99, "share of rows on which the exported engine gives the label torch gives"),
        "holdout_loss": (
            "required",
            0.005,
            "of 1000 holdout rows it puts 40 right and 20 wrong: +2.00 points, at worst +0.72",
        ),
        "recent_loss": ("required", 0.0, "of 95 recent predictions that chance drew it puts 12 right and 3 wrong"),
        "class_floor": ("required", 0.10, "no class loses significantly"),
        "slice_floor": ("required", 0.10, "the holdout has no slices to look at"),
        "negative_flips": ("required", 0.05, "20 of 1000 rows that were right turn wrong, and 40 that were wrong turn right"),
        "holdout_gain": (
            "evidence",
            level,
            "chance of 40 against 20 or better between equal models (exact McNemar), look 1",
        ),
        "recent_gain": (
            "evidence",
            level,
            "chance of 12 against 3 of 95 recent predictions, drawn by chance and not learned from, or better between equal "
            "models (exact McNemar), look 1",
        ),
        "corrections_fixed": (
            "evidence",
            level,
            "it puts 8 of 10 corrected answers right that it did not learn from, and 40 of 50 errors on the holdout (beta-"
            "binomial), look 1",
        ),
    }


def test_the_old_holdout_may_lose_what_recent_traffic_is_sure_to_gain_and_no_more() -> None:
    aged = answers(940, 7, 27, 26)
    assert not _rule(_decide(aged), "holdout_loss").passed
    assert not _rule(_decide(aged, recent=answers(80, 8, 4)), "holdout_loss").passed
    assert _rule(_decide(aged, recent=answers(80, 15, 1)), "holdout_loss").passed
    # However much is gained, not everything may be forgotten.
    forgotten = answers(880, 7, 87, 26)
    rule = _rule(_decide(forgotten, recent=answers(80, 60, 1)), "holdout_loss")
    assert (rule.passed, rule.limit) == (False, 0.005)


def _likelier(rows: Answers, nats: float, spread: float = 0.3, seed: int = 1) -> Answers:
    """Return the rows with gains of ``nats`` in the mean."""
    gains = np.random.default_rng(seed).normal(0.0, spread, len(rows.truth))
    return replace(rows, gains=gains - gains.mean() + nats)


def test_the_holdout_speaks_by_how_likely_the_right_labels_are_too() -> None:
    flips = answers(760, 67, 45)
    assert not _decide(flips).promote
    rule = _rule(_decide(_likelier(flips, 0.06)), "holdout_gain")
    assert rule.passed
    assert rule.why == (
        "chance that 872 holdout rows find their right labels likelier by 0.060 nats or more between equal models (sign "
        "flips), look 1; 67 are put right and 45 wrong"
    )
    assert rule.value == pytest.approx(2.0 * sign_flips(cast("FloatVector", _likelier(flips, 0.06).gains)))
    # Asked two ways, each has half of the level.
    plain = _rule(_decide(_likelier(answers(960, 30, 10), -0.01)), "holdout_gain")
    assert plain.value == pytest.approx(2.0 * mcnemar(30, 10))
    assert "exact McNemar" in plain.why


def test_likelier_holdout_rows_are_nothing_where_no_more_answers_are_right() -> None:
    assert mcnemar(40, 35) > 0.1
    rule = _rule(_decide(_likelier(answers(925, 40, 35), 0.1)), "holdout_gain")
    assert not rule.passed
    assert "exact McNemar" in rule.why
    # Of few rows likelihoods tell nothing; right and wrong have the whole level.
    few = _rule(_decide(_likelier(answers(70, 8, 2), 0.2)), "holdout_gain")
    assert few.value == pytest.approx(mcnemar(8, 2))


def test_what_the_holdout_can_show_goes_by_the_level_that_is_left_for_right_and_wrong() -> None:
    flips = answers(2960, 25, 15)
    asked_twice = _decide(_likelier(flips, 0.0)).looks.least_gain_ratio
    assert asked_twice == least_gain(60, 3_000, 0.05 * spending(1) / 2)
    assert _decide(flips).looks.least_gain_ratio == least_gain(60, 3_000, 0.05 * spending(1))


def test_recent_traffic_speaks_by_how_likely_the_right_labels_are() -> None:
    recent = _likelier(answers(92, 5, 3), 0.1)
    decision = _decide(answers(1000), recent=recent)
    assert (decision.promote, decision.summary) == (True, "passed on recent_gain")
    why = (
        "100 predictions, drawn by chance and not learned from, find their right labels likelier by 0.100 nats or more between"
    )
    assert why in _rule(decision, "recent_gain").why
    assert not _rule(_decide(answers(1000), recent=replace(recent, gains=None)), "recent_gain").passed
    assert not _rule(_decide(answers(1000), recent=_likelier(answers(92, 5, 3), 0.03)), "recent_gain").passed
    # So few that any gains might come about: right and wrong have to tell.
    assert "exact McNemar" in _rule(_decide(answers(1000), recent=_likelier(answers(22, 7), 0.1)), "recent_gain").why


def test_likelier_is_not_better_where_fewer_answers_are_right() -> None:
    rule = _rule(_decide(answers(1000), recent=_likelier(answers(92, 3, 5), 0.3)), "recent_gain")
    assert (rule.passed, rule.kind) == (False, "evidence")
    assert (rule.value, rule.limit) == (0.02, 0.0)
    assert rule.why.endswith("so likelier is not better")


def test_what_the_champion_learned_speaks_too_where_both_answer_out_of_fold() -> None:
    recent, earlier = _likelier(answers(32, 1), 0.1), _likelier(answers(195, 8, 5), 0.1, seed=2)
    assert not _rule(_decide(answers(1000), recent=recent), "recent_gain").passed
    rule = _rule(_decide(answers(1000), recent=recent, earlier=earlier), "recent_gain")
    assert rule.passed
    assert "241 predictions" in rule.why
    assert "9 are put right and 5 wrong" in rule.why
    # Without anything new there is nothing new to say.
    names = [rule.name for rule in _decide(answers(1000), earlier=earlier).rules]
    assert "recent_gain" not in names


def test_what_changed_lately_is_not_buried_under_all_that_came_before() -> None:
    recent, earlier = _likelier(answers(187, 11, 2), 0.1), _likelier(answers(1766, 16, 18), -0.01, seed=2)
    assert sign_flips(recent.beside(earlier).gains) > 0.05  # type: ignore[arg-type]
    rule = _rule(_decide(answers(1000), recent=recent, earlier=earlier), "recent_gain")
    assert rule.passed
    assert "200 predictions" in rule.why
    # Who asks twice gives half of the level to each.
    alone = _rule(_decide(answers(1000), recent=recent), "recent_gain")
    assert rule.value == pytest.approx(2 * alone.value)


def test_where_recent_traffic_is_answered_better_chance_has_its_way_with_the_holdout() -> None:
    recent = _likelier(answers(92, 5, 3), 0.1)
    # 0.8 points, which 72 rows that differ bring about by chance.
    lucky = answers(900, 32, 40, 28)
    assert not _rule(_decide(lucky), "holdout_loss").passed
    rule = _rule(_decide(lucky, recent=recent), "holdout_loss")
    assert rule.passed
    assert "recent traffic is answered better" in rule.why
    assert not _rule(_decide(lucky, recent=_likelier(answers(92, 5, 3), 0.03)), "holdout_loss").passed
    # Two points are none.
    assert not _rule(_decide(answers(900, 26, 46, 28), recent=recent), "holdout_loss").passed


def test_corrections_speak_for_a_candidate_only_where_nobodys_choice_rules_out_a_large_loss() -> None:
    # 40 to 42 is a fifth of a point; it may be 2.9 points as well, and the corrections do not tell.
    rule = _rule(_decide(answers(900, 40, 42, 18), answers(0, 60)), "corrections_fixed")
    assert (rule.passed, rule.limit, rule.kind) == (False, 0.02, "evidence")
    assert "99.95% certainty" in rule.why
    assert _rule(_decide(answers(970, 7, 7, 16), answers(0, 60)), "corrections_fixed").passed
    # 300 rows cannot show it of any candidate, not even of one that gives the same answers.
    assert not _rule(_decide(answers(280, 0, 0, 20), answers(0, 60)), "corrections_fixed").passed
    # With an audit they can.
    small = _decide(answers(280, 1, 1, 18), answers(0, 60), recent=answers(390, 6, 2, 2))
    assert _rule(small, "corrections_fixed").passed
    assert small.promote
    # Many looks take more certainty, as all looks share what may go wrong.
    assert not _rule(_decide(answers(970, 7, 7, 16), answers(0, 60), looks=30), "corrections_fixed").passed
    # It forbids nothing where there is other evidence.
    other = _decide(answers(270, 10, 10, 10), answers(0, 60), recent=answers(10, 8))
    assert (other.promote, other.summary) == (True, "passed on recent_gain")


def test_a_gain_on_few_rows_that_may_be_a_loss_is_no_evidence() -> None:
    # 13 to 3 is a gain of 3.3 points, and a loss of two is ruled out.
    assert _rule(_decide(answers(270, 13, 3, 14)), "holdout_gain").passed
    # 26 to 12 passes McNemar's test just so, and may be a loss of two points with more than one chance in 2,000.
    rule = _rule(_decide(answers(250, 26, 12, 12)), "holdout_gain")
    assert (rule.passed, rule.limit, rule.kind) == (False, 0.02, "evidence")
    assert _rule(_decide(answers(950, 26, 12, 12)), "holdout_gain").passed


def test_a_least_gain_can_be_set() -> None:
    strict = GateLimits(min_gain_ratio=0.02)
    assert "minimum_gain" not in [rule.name for rule in _decide(answers(1000, 15)).rules]
    assert _decide(answers(980, 20), limits=strict).promote
    short = _decide(answers(981, 19), limits=strict)
    assert (short.promote, short.summary) == (False, "failed minimum_gain")
    assert _rule(short, "minimum_gain").why == "+1.90 points on the holdout, where it gains most"
    # The gain may lie in what there is of late, or in what is new.
    assert _decide(answers(1000), recent=answers(90, 10), limits=strict).promote
    assert _decide(answers(1000), new=answers(0, 20, label=2), limits=strict).promote


def test_what_was_forgotten_by_and_by_is_counted_from_the_best_there_was() -> None:
    better = answers(880, 30, 5, 85)
    assert "forgetting" not in [rule.name for rule in _decide(better).rules]
    # Against the champion it gains; against who served long ago it has lost 7 points, 5.3 at least.
    rule = _rule(_decide(better, before=answers(830, 10, 80, 80)), "forgetting")
    assert (rule.passed, rule.limit) == (False, 0.05)
    assert rule.why.startswith("against v0, the best that served: -7.00 points")
    # 5.5 points may be 4 as well.
    assert _rule(_decide(better, before=answers(850, 10, 65, 75)), "forgetting").passed
    # A label may be forgotten where all others are not.
    lost = _join(answers(30, 0, 20, label=1), answers(900, 50))
    rule = _rule(_decide(better, before=lost), "forgetting")
    assert (rule.value, rule.passed) == (0.4, False)
    assert rule.why == "recall of 'b' is 40.0 points below that of v0 on 50 rows"


def test_new_labels_are_judged_on_their_own_rows() -> None:
    learned = _decide(answers(1000), new=answers(0, 18, 0, 2, label=2))
    assert (learned.promote, learned.summary) == (True, "passed on new_classes_learned")
    assert _rule(learned, "new_classes").why == "recall of 'c', which the champion does not know, is 90.0% on 20 rows"
    assert [(found.name, found.rows, found.candidate_right) for found in learned.new_classes] == [("c", 20, 18)]
    assert [found.name for found in learned.classes] == ["a"]
    # 5 of 20 is surely less than half; 3 of 10 may be luck.
    short = _decide(answers(960, 40), new=answers(0, 5, 0, 15, label=2))
    assert (short.promote, short.summary) == (False, "failed new_classes")
    unsure = _decide(answers(960, 40), new=answers(0, 3, 0, 7, label=2))
    assert unsure.promote
    assert "too few to say that it is too low" in _rule(unsure, "new_classes").why


def test_old_labels_do_not_pay_for_new_ones() -> None:
    new = answers(0, 20, label=2)
    # It has all new rows right, for it calls nearly everything so.
    grabbing = Answers(np.zeros(1000, dtype=np.int64), np.zeros(1000, dtype=np.int64), np.full(1000, 2))
    assert not _decide(grabbing, new=new).promote
    assert not _rule(_decide(grabbing, new=new), "new_classes_learned").passed
    # A holdout that cannot rule out two points of loss is not enough.
    costly = _rule(_decide(answers(900, 40, 42, 18), new=new), "new_classes_learned")
    assert (costly.passed, costly.limit) == (False, 0.02)
    assert not _decide(answers(280, 0, 0, 20), new=new).promote


def test_a_decision_shows_what_became_of_every_label_and_slice() -> None:
    decision = _decide(_join(answers(90, 6, 4, label=1), answers(50, 0, 1)), slices={"short": np.arange(30)}, looks=3)
    assert [(found.name, found.rows, found.champion_right, found.candidate_right) for found in decision.classes] == [
        ("a", 51, 51, 50),
        ("b", 100, 94, 96),
    ]
    assert [(found.name, found.rows) for found in decision.slices] == [("short", 30)]
    assert decision.looks.holdout_looks == 3


def test_decisions_of_earlier_releases_are_read() -> None:
    kept = {"promote": True, "summary": "passed on corrections_fixed", "champion": "v1", "rules": []}
    assert GateDecision.model_validate(kept).looks == Looks()


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        (GateLimits(min_rows=2000), "holdout_rows"),
        (GateLimits(alpha=1e-4), "holdout_gain"),
        (GateLimits(max_loss_ratio=-0.5), "holdout_loss"),
        (GateLimits(max_class_loss_ratio=0.05), "class_floor"),
        (GateLimits(max_negative_flip_ratio=0.0), "negative_flips"),
        (GateLimits(min_parity_ratio=1.0), "parity"),
    ],
)
def test_every_limit_counts(limits: GateLimits, rule: str) -> None:
    holdout = _join(answers(92, 0, 8, label=1), answers(900, 22))
    assert _decide(holdout, parity_ratio=0.995).promote
    strict = _decide(holdout, parity_ratio=0.995, limits=limits)
    assert not strict.promote
    assert not _rule(strict, rule).passed


def test_the_worst_class_is_named() -> None:
    parts = (answers(80, 0, 20, label=1), answers(150, 0, 50, label=2), answers(2000, 100))
    floor = _rule(_decide(_join(*parts)), "class_floor")
    assert (floor.value, floor.passed) == (0.25, False)
    assert floor.why == "recall of 'c' falls by 25.0 points on 200 rows"


def test_a_class_may_lose_by_chance() -> None:
    # 5 to 0 happens by chance in 1 of 32 cases, 6 to 0 in 1 of 64; alpha shared among three classes is 1 of 60.
    for lost, passed in ((5, True), (6, False)):
        floor = _rule(_decide(_join(answers(20 - lost, 0, lost, label=1), answers(1000, 20))), "class_floor")
        assert floor.passed == passed
        assert floor.value == (0.0 if passed else lost / 20)


def test_a_label_unknown_to_a_model_is_never_right() -> None:
    both = Answers(np.array([0, 1, 1]), np.array([-1, -1, 1]), np.array([0, -1, -1]))
    assert both.flips == (1, 1)
    assert NO_ANSWERS.flips == (0, 0)


@pytest.mark.parametrize(
    ("rows", "accuracy", "majority", "parity", "summary"),
    [
        (100, 0.81, 0.80, 1.0, "passed on first version"),
        (100, 0.80, 0.80, 1.0, "failed beats_majority"),
        (49, 0.81, 0.80, 1.0, "failed holdout_rows"),
        (100, 0.81, 0.80, 0.9, "failed parity"),
        (0, 0.0, 0.0, 1.0, "failed holdout_rows, beats_majority"),
    ],
)
def test_the_first_version_has_to_beat_the_commonest_label(
    rows: int, accuracy: float, majority: float, parity: float, summary: str
) -> None:
    decision = decide_first(rows, accuracy, majority, parity, GateLimits())
    assert (decision.summary, decision.promote, decision.champion) == (summary, summary.startswith("passed"), None)


@given(st.integers(0, 300), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.floats(0, 1))
def test_a_decision_follows_from_its_rules_and_survives_json(
    right: int, better: int, worse: int, fixed: int, parity_ratio: float
) -> None:
    decision = _decide(answers(right, better, worse), answers(0, fixed), parity_ratio)
    assert GateDecision.model_validate_json(decision.model_dump_json()) == decision
    required = all(rule.passed for rule in decision.rules if rule.kind == "required")
    evidence = any(rule.passed for rule in decision.rules if rule.kind == "evidence")
    assert decision.promote == (required and evidence)


# How often decisions are right


def _holdout(random: np.random.Generator, rows: int, gain: float, discordant: float) -> Answers:
    """Draw rows of a champion that is 93% right and a candidate that differs on ``discordant`` of them, better by ``gain``."""
    labels = 10
    truth = random.integers(0, labels, rows)
    better, worse = (discordant + gain) / 2, (discordant - gain) / 2
    kind = random.choice(4, size=rows, p=[0.93 - worse, better, worse, 0.07 - better])
    wrong = (truth + random.integers(1, labels, rows)) % labels
    champion = np.where((kind == 0) | (kind == 2), truth, wrong)
    candidate = np.where((kind == 0) | (kind == 1), truth, wrong)
    return Answers(truth, champion, candidate)


def _promoted_ratio(
    rounds: int,
    rows: int,
    gain: float,
    discordant: float,
    more: Callable[[np.random.Generator], tuple[Answers, Answers]] = lambda _: (NO_ANSWERS, NO_ANSWERS),
    looks: int = 1,
) -> float:
    """Return how often a candidate passes; ``more`` draws recent rows and corrections."""
    random = np.random.default_rng(20250601)
    labels = [f"intent {number}" for number in range(10)]
    promoted = 0
    for _ in range(rounds):
        # Candidates of the same worth are looked at one after the other, each on rows of its own: the level must do with that.
        passed = False
        for look in range(1, looks + 1):
            recent, corrections = more(random)
            seen = Looks(holdout_looks=look, recent_looks=look)
            evidence = Evidence(_holdout(random, rows, gain, discordant), recent, corrections, looks=seen)
            passed |= decide(evidence, Make(1.0), labels=labels, champion="v1", limits=GateLimits()).promote
        promoted += passed
    return promoted / rounds


def _alike(discordant: float, gain: float = 0.0) -> Callable[[np.random.Generator], tuple[Answers, Answers]]:
    """Return what draws recent rows, and corrections as people make them: of rows that the champion has wrong."""

    def draw(random: np.random.Generator) -> tuple[Answers, Answers]:
        drawn = _holdout(random, 2_000, gain, discordant)
        wrong = np.flatnonzero(drawn.champion != drawn.truth)[:60]
        return _holdout(random, 200, gain, 0.10), drawn.take(wrong)

    return draw


@pytest.mark.parametrize("discordant", [0.04, 0.08])
@pytest.mark.parametrize("rows", [300, 3_000])
def test_equal_models_are_seldom_promoted(discordant: float, rows: int) -> None:
    # The other kinds of evidence must not add an alpha each, and what people choose to correct must not count as drawn.
    assert _promoted_ratio(300, rows, 0.0, discordant, _alike(discordant)) <= 0.05
    assert _promoted_ratio(300, rows, 0.0, discordant) <= 0.05


def test_thirty_looks_at_one_holdout_promote_no_more_equal_models_than_one() -> None:
    assert _promoted_ratio(60, 1_000, 0.0, 0.06, _alike(0.06), looks=30) <= 0.05


@pytest.mark.parametrize("discordant", [0.04, 0.08])
def test_a_model_two_points_worse_is_never_promoted(discordant: float) -> None:
    # Not even with every correction put right, as a model that has learned from them does.
    assert _promoted_ratio(200, 3_000, -0.02, discordant, lambda _: (NO_ANSWERS, answers(0, 100))) == 0.0
    assert _promoted_ratio(200, 3_000, -0.02, discordant, _alike(discordant, -0.02)) == 0.0
    assert _promoted_ratio(200, 300, -0.02, discordant, lambda _: (NO_ANSWERS, answers(0, 100))) == 0.0


@pytest.mark.parametrize("discordant", [0.04, 0.08])
def test_a_model_two_points_better_is_nearly_always_promoted(discordant: float) -> None:
    assert _promoted_ratio(200, 3_000, 0.02, discordant) >= 0.9


def test_answers_are_compared_row_by_row() -> None:
    truth: IntVector = np.array([0, 1, 2, 0])
    assert Answers(truth, np.array([0, 0, 2, 1]), np.array([1, 1, 2, 0])).flips == (2, 1)
