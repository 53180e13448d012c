"""The gate: each rule, the test behind them, and how often whole decisions are right."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from core.gate import Answers, GateDecision, GateLimits, IntVector, Rule, decide, decide_first, mcnemar

_LABELS = ["a", "b", "c"]
_DEFAULTS = GateLimits()
_NONE = Answers(*(np.zeros(0, dtype=np.int64) for _ in range(3)))


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
    holdout: Answers, corrections: Answers = _NONE, parity_ratio: float = 1.0, limits: GateLimits = _DEFAULTS
) -> GateDecision:
    return decide(holdout, corrections, labels=_LABELS, parity_ratio=parity_ratio, champion="v1", limits=limits)


def _rule(decision: GateDecision, name: str) -> Rule:
    (rule,) = [rule for rule in decision.rules if rule.name == name]
    return rule


# McNemar's test


@pytest.mark.parametrize(
    ("better", "worse", "chance"),
    [
        (0, 0, 1.0),
        (0, 5, 1.0),
        (1, 0, 0.5),
        (5, 0, 1 / 32),
        (10, 2, 79 / 4096),
        (15, 5, 21700 / 2**20),
    ],
)
def test_mcnemar_of_known_values(better: int, worse: int, chance: float) -> None:
    assert mcnemar(better, worse) == pytest.approx(chance, rel=1e-12)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_binomial_tail(better: int, worse: int) -> None:
    total = better + worse
    tail = sum(math.comb(total, wins) for wins in range(better, total + 1)) / 2**total
    assert mcnemar(better, worse) == pytest.approx(tail, rel=1e-9)
    assert mcnemar(better, worse) == pytest.approx(float(binom.sf(better - 1, total, 0.5)), rel=1e-9)


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_falls_with_wins_and_rises_with_losses(better: int, worse: int) -> None:
    assert mcnemar(better + 1, worse) <= mcnemar(better, worse) <= mcnemar(better, worse + 1)


# Each rule


@pytest.mark.parametrize(
    ("name", "passes", "fails"),
    [
        ("holdout_rows", lambda: _decide(answers(30, 20)), lambda: _decide(answers(29, 20))),
        ("parity", lambda: _decide(answers(999), parity_ratio=0.99), lambda: _decide(answers(999), parity_ratio=0.9899)),
        ("accuracy_loss", lambda: _decide(answers(990, 0, 5, 5)), lambda: _decide(answers(990, 0, 6, 4))),
        (
            "class_floor",
            # 10 of 100 rows of one class lost is the limit; one more is over it.
            lambda: _decide(_join(answers(90, 0, 10, label=1), answers(900, 20))),
            lambda: _decide(_join(answers(89, 0, 11, label=1), answers(900, 20))),
        ),
        ("negative_flips", lambda: _decide(answers(900, 50, 50)), lambda: _decide(answers(899, 50, 51))),
        # One-sided exact: 5 to 0 is 1/32, 6 to 0 is 1/64; half of alpha 0.05 lies between.
        ("holdout_gain", lambda: _decide(answers(1000, 6)), lambda: _decide(answers(1000, 5))),
        ("corrections_fixed", lambda: _decide(answers(1000), answers(0, 6)), lambda: _decide(answers(1000), answers(0, 5))),
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
        (lambda: _decide(answers(1000), answers(2, 20, 1)), "passed on corrections_fixed"),
        (lambda: _decide(answers(1000, 20), answers(0, 20)), "passed on holdout_gain, corrections_fixed"),
        (lambda: _decide(answers(1000)), "no evidence that it is better"),
        (lambda: _decide(answers(1000, 5, 5), answers(9, 1)), "no evidence that it is better"),
        (lambda: _decide(answers(940, 0, 60), answers(0, 90)), "failed accuracy_loss, negative_flips"),
        (lambda: _decide(answers(20, 20), parity_ratio=0.5), "failed holdout_rows, parity"),
        (lambda: _decide(_NONE, answers(0, 90)), "failed holdout_rows"),
        (lambda: _decide(answers(1000, 20), parity_ratio=float("nan")), "failed parity"),
    ],
)
def test_a_decision_says_on_what_it_rests(decision: Callable[[], GateDecision], summary: str) -> None:
    made = decision()
    assert made.summary.startswith(summary)
    assert made.promote == summary.startswith("passed")
    assert made.champion == "v1"


def test_rules_say_their_value_limit_and_reason() -> None:
    decision = _decide(answers(930, 40, 20, 10), answers(1, 8, 1), parity_ratio=0.995)
    said = {rule.name: (rule.kind, rule.value, rule.limit, rule.why) for rule in decision.rules}
    assert said == {
        "holdout_rows": ("required", 1000, 50, "1000 holdout rows to judge on"),
        "parity": ("required", 0.995, 0.99, "share of rows on which the exported engine gives the label torch gives"),
        "accuracy_loss": ("required", -0.02, 0.005, "of 1000 holdout rows it puts 40 right and 20 wrong: +2.00 points"),
        "class_floor": ("required", 0.0, 0.10, "no class loses significantly"),
        "negative_flips": ("required", 0.02, 0.05, "20 of 1000 rows that were right turn wrong"),
        "holdout_gain": (
            "evidence",
            mcnemar(40, 20),
            0.025,
            "chance of 40 against 20 or better between equal models (exact McNemar)",
        ),
        "corrections_fixed": (
            "evidence",
            mcnemar(8, 1),
            0.025,
            "of 10 corrections new to the champion it puts 8 right and 1 wrong",
        ),
    }


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        (GateLimits(min_rows=2000), "holdout_rows"),
        (GateLimits(alpha=1e-4), "holdout_gain"),
        (GateLimits(max_loss_ratio=-0.5), "accuracy_loss"),
        (GateLimits(max_class_loss_ratio=0.05), "class_floor"),
        (GateLimits(max_negative_flip_ratio=0.001), "negative_flips"),
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
    assert _NONE.flips == (0, 0)


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


def _promoted_ratio(rounds: int, rows: int, gain: float, discordant: float, corrections: Callable[[], Answers]) -> float:
    random = np.random.default_rng(20250601)
    labels = [f"intent {number}" for number in range(10)]
    promoted = 0
    for _ in range(rounds):
        decision = decide(
            _holdout(random, rows, gain, discordant),
            corrections(),
            labels=labels,
            parity_ratio=1.0,
            champion="v1",
            limits=GateLimits(),
        )
        promoted += decision.promote
    return promoted / rounds


@pytest.mark.parametrize("discordant", [0.04, 0.06])
def test_equal_models_are_seldom_promoted(discordant: float) -> None:
    random = np.random.default_rng(5)

    def chance() -> Answers:
        # Corrections on which the two are equal as well: the second kind of evidence must not add a second alpha.
        return _holdout(random, 200, 0.0, 0.10)

    assert _promoted_ratio(400, 3_000, 0.0, discordant, chance) <= 0.05


@pytest.mark.parametrize("discordant", [0.04, 0.06])
def test_a_model_two_points_worse_is_never_promoted(discordant: float) -> None:
    # Not even with every correction put right, as a model that has learned from them does.
    assert _promoted_ratio(200, 3_000, -0.02, discordant, lambda: answers(0, 100)) == 0.0
    assert _promoted_ratio(200, 3_000, -0.02, discordant, lambda: _NONE) == 0.0


@pytest.mark.parametrize("discordant", [0.04, 0.06])
def test_a_model_two_points_better_is_nearly_always_promoted(discordant: float) -> None:
    assert _promoted_ratio(200, 3_000, 0.02, discordant, lambda: _NONE) >= 0.9


def test_answers_are_compared_row_by_row() -> None:
    truth: IntVector = np.array([0, 1, 2, 0])
    assert Answers(truth, np.array([0, 0, 2, 1]), np.array([1, 1, 2, 0])).flips == (2, 1)
