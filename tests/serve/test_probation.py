"""Probation: which versions are taken back and which are not, decided without a process or a clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pytest

from core.registry import Move
from core.schemas import now
from serve.probation import CHECKS, Limits, Spoken, Tally, overruled
from serve.probation_watch import on_probation
from serve.split import is_challengers

LABELS = tuple(f"label {place}" for place in range(10))


def _tally(labels: Sequence[str] = LABELS, **limits: float) -> Tally:
    return Tally(Limits(**limits), len(labels), frozenset(labels))  # type: ignore[arg-type] # only numbers are changed


def _compare(tally: Tally, new: Sequence[str], old: Sequence[str], *, scores: tuple[float, float] = (0.9, 0.9)) -> str | None:
    """Return which check broke after these answers, looking after every one."""
    for mine, other in zip(new, old, strict=True):
        tally.compare(Spoken(mine, scores[0], 0.003), Spoken(other, scores[1], 0.003))
        if (broken := tally.verdict()) is not None:
            return broken.check
    return None


def _draw(texts: int = 500, seed: int = 0) -> list[str]:
    return [LABELS[place] for place in np.random.default_rng(seed).integers(0, len(LABELS), texts)]


def _changed(labels: list[str], share: float, seed: int = 1) -> list[str]:
    """Return ``labels`` with a share of them replaced by any other."""
    random = np.random.default_rng(seed)
    return [LABELS[(LABELS.index(x) + int(random.integers(1, 10))) % 10] if random.random() < share else x for x in labels]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.4])
def test_a_better_version_that_contradicts_a_poor_one_often_is_let_be(share: float) -> None:
    old = _draw()
    assert all(_compare(_tally(), _changed(old, share, seed), old) is None for seed in range(5))


def test_a_version_that_contradicts_the_one_before_on_most_texts_is_taken_back() -> None:
    old = _draw()
    assert _compare(_tally(), _changed(old, 0.8), old) == "disagreement"


def test_a_version_that_says_one_label_to_everything_is_taken_back() -> None:
    old = _draw()
    tally = _tally(max_disagreement_ratio=1.0)
    assert _compare(tally, [LABELS[3]] * len(old), old) == "collapse"
    assert tally.compared <= 60


def test_one_label_that_nearly_everything_really_is_is_no_collapse() -> None:
    old = [LABELS[3] if place % 20 else LABELS[4] for place in range(400)]
    assert _compare(_tally(), old, old) is None


def test_a_version_of_two_labels_collapses_too() -> None:
    old = ["no" if place % 3 else "yes" for place in range(400)]
    assert _compare(_tally(("no", "yes")), ["no"] * 400, old) == "collapse"


def test_a_version_that_is_far_less_sure_is_taken_back() -> None:
    old = _draw()
    assert _compare(_tally(), old, old, scores=(0.3, 0.95)) == "less_sure"
    assert _compare(_tally(), old, old, scores=(0.7, 0.95)) is None


def test_a_version_that_is_slower_at_the_median_text_is_taken_back() -> None:
    tally, quick = _tally(), _tally()
    for place in range(100):
        tally.compare(Spoken("a", 0.9, 0.05), Spoken("a", 0.9, 0.01))
        # A busy machine now and then, and a version that is slower but quick enough, are no reason.
        quick.compare(Spoken("a", 0.9, 0.5 if place % 3 == 0 else 0.012), Spoken("a", 0.9, 0.001))
    broken = tally.verdict()
    assert broken is not None
    assert (broken.check, broken.hits, broken.trials) == ("slower", 100, 100)
    assert "100 of 100 texts" in broken.sentence
    assert quick.verdict() is None


def test_a_version_whose_engine_fails_is_taken_back_and_one_failure_is_not_enough() -> None:
    tally = _tally()
    for place in range(400):
        tally.answer(failed=place == 7)
    assert tally.verdict() is None
    tally = _tally()
    for _ in range(29):
        tally.answer(failed=True)
    assert tally.verdict() is None, "fewer than the fewest"
    tally.answer(failed=True)
    broken = tally.verdict()
    assert broken is not None
    assert broken.check == "failures"


def test_labels_the_new_version_does_not_have_are_not_held_against_it() -> None:
    tally = _tally(("a", "b"))
    for _ in range(200):
        tally.compare(Spoken("a", 0.9, 0.001), Spoken("gone", 0.9, 0.001))
    assert tally.verdict() is None
    assert tally.agreement_ratio is None


def test_every_check_is_told() -> None:
    assert tuple(finding.check for finding in _tally().findings()) == CHECKS


def _move(action: str, version: str, replaced: str | None, by: str = "gate", at: datetime | None = None) -> Move:
    facts = {"at": at or now(), "action": action, "version": version, "replaced": replaced, "by": by, "why": ""}
    return Move.model_validate(facts)


def test_who_is_on_probation() -> None:
    long_ago = now() - timedelta(seconds=700)
    first, second = _move("promote", "v1", None, at=long_ago), _move("promote", "v2", "v1")
    back = _move("rollback", "v1", "v2", "probation")
    found = on_probation([first, second], "v2", 600.0)
    assert found is not None
    assert found[0] == "v1"
    assert on_probation([first], "v1", 600.0) is None, "it replaced nobody"
    assert on_probation([first, second], "v2", 0.0) is None, "probation is off"
    assert on_probation([first, _move("promote", "v2", "v1", at=long_ago)], "v2", 600.0) is None, "it has passed"
    assert on_probation([first, second, back], "v1", 600.0) is None, "what was gone back to is known"
    assert on_probation([first, second, back, _move("promote", "v2", "v1", "ann")], "v2", 600.0) is None, "a person insisted"
    assert on_probation([first, second, _move("rollback", "v1", "v2", "ann"), _move("promote", "v2", "v1", "ann")], "v2", 600.0)


def test_only_what_probation_took_back_can_be_overruled() -> None:
    assert not overruled([("gate", "v2", "v1")], "v2")
    assert not overruled([("gate", "v2", "v1"), ("probation", "v1", "v2")], "v2")
    assert overruled([("gate", "v2", "v1"), ("probation", "v1", "v2"), ("ann", "v2", "v1")], "v2")


def test_a_share_of_the_requests_is_the_challenger_s_and_stays_so() -> None:
    requests = [[f"text {place}", "another"] for place in range(4_000)]
    tenth = [is_challengers(texts, 0.1) for texts in requests]
    assert 300 < sum(tenth) < 500
    assert tenth == [is_challengers(texts, 0.1) for texts in requests]
    assert all(is_challengers(texts, 0.3) for texts, taken in zip(requests, tenth, strict=True) if taken)
    assert is_challengers(["\ud800"], 1.0)
