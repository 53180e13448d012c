"""What ``speed=auto`` trains: the head unless a gap is certain, worth its time, and new."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.choosing import Evidence, Labelled, choose_speed

# The head gets a third of recent texts wrong where a tenth is usual.
_GAP = Evidence(0.1, recent=Labelled(300, 100), labels=10, new_examples=500)


def test_without_a_gap_the_head_is_enough() -> None:
    assert choose_speed(Evidence(0.1, recent=Labelled(300, 30), labels=10, new_examples=500)).speed == "head"


def test_without_anything_known_the_head_is_enough() -> None:
    assert choose_speed(Evidence(0.1)).speed == "head"


def test_a_gap_that_is_certain_calls_for_the_encoder() -> None:
    choice = choose_speed(_GAP)
    assert choice.speed == "full"
    assert "33.3%" in choice.why


def test_a_few_mistakes_are_no_gap() -> None:
    assert choose_speed(replace(_GAP, recent=Labelled(6, 2))).speed == "head"


def test_after_runs_in_vain_more_evidence_is_asked_for() -> None:
    vain = replace(_GAP, fulls_in_vain=2)
    choice = choose_speed(vain)
    assert choice.speed == "head"
    assert "after 2 in vain" in choice.why
    assert choose_speed(replace(vain, new_examples=800)).speed == "full"


def test_after_a_run_that_could_not_show_its_gain_twice_as_much_is_asked_for() -> None:
    unproven = replace(_GAP, fulls_unproven=2, new_examples=199)
    assert choose_speed(unproven).speed == "head"
    assert "after 2 in vain; 200 are needed" in choose_speed(unproven).why
    assert choose_speed(replace(unproven, new_examples=200)).speed == "full"
    assert choose_speed(replace(unproven, new_examples=200, fulls_in_vain=1)).speed == "head"


def test_where_the_encoder_has_closed_nothing_it_is_not_trained() -> None:
    assert choose_speed(replace(_GAP, recovered_ratio=0.01)).speed == "head"


def test_drift_halves_what_is_asked_for() -> None:
    slight = replace(_GAP, recent=Labelled(300, 48), new_examples=30)
    assert choose_speed(slight).speed == "head"
    assert choose_speed(replace(slight, drift=True)).speed == choose_speed(replace(slight, new_examples=60, drift=True)).speed


def test_new_labels_that_the_head_confuses_call_for_the_encoder() -> None:
    evidence = Evidence(0.05, of_new_labels=Labelled(40, 20), labels=20, new_labels=4, new_examples=200)
    assert choose_speed(evidence).speed == "full"
    assert choose_speed(replace(evidence, of_new_labels=Labelled(40, 2))).speed == "head"


def test_many_new_labels_of_which_nothing_is_known_call_for_the_encoder() -> None:
    evidence = Evidence(0.05, labels=20, new_labels=10, new_examples=200)
    assert choose_speed(evidence).speed == "full"
    assert choose_speed(replace(evidence, new_labels=2)).speed == "head"


def test_an_encoder_that_was_never_trained_is_tried_where_enough_is_wrong() -> None:
    evidence = Evidence(0.2, recent=Labelled(300, 60), labels=2, new_examples=60, untrained=True)
    choice = choose_speed(evidence)
    assert choice.speed == "full"
    assert choice.why == "full: 20.0% of held-out texts are wrong, and the encoder was never trained on these labels"
    assert choose_speed(replace(evidence, untrained=False)).speed == "head"
    assert choose_speed(replace(evidence, usual_error_ratio=0.03, recent=Labelled(300, 9))).speed == "head"
    assert choose_speed(replace(evidence, new_examples=49)).speed == "head"
    assert choose_speed(replace(evidence, expected_full_s=3_600.0)).speed == "head", "hours are for who asks for them"
    # Nor do a few mistakes more than usual make hours of curiosity worth while.
    slightly = replace(evidence, recent=Labelled(3_000, 640))
    assert 0.0 < slightly.since() < 0.01
    assert choose_speed(slightly).speed == "full"
    assert choose_speed(replace(slightly, expected_full_s=3_600.0)).speed == "head"


def test_an_encoder_tried_in_vain_is_left_alone_for_long() -> None:
    # 26 labels a round where nothing changes: the second trial comes eight rounds later, the third not within thirty.
    fulls = seen = 0
    for labelled in range(26, 30 * 26 + 1, 26):
        closed = _closed(fulls)
        evidence = Evidence(
            0.2, labels=2, new_examples=labelled - seen, untrained=True, fulls_in_vain=fulls, recovered_ratio=closed
        )
        if choose_speed(evidence).speed == "full":
            fulls, seen = fulls + 1, labelled
    assert fulls == 2


@pytest.mark.parametrize(("left_s", "speed"), [(None, "full"), (100.0, "full"), (99.0, "head"), (0.0, "head")])
def test_what_the_day_cannot_afford_is_left(left_s: float | None, speed: str) -> None:
    assert choose_speed(replace(_GAP, expected_full_s=100.0, budget_left_s=left_s)).speed == speed


_COUNTS = st.integers(0, 500)


@st.composite
def _evidence(draw: st.DrawFn) -> Evidence:
    rows, new = draw(_COUNTS), draw(_COUNTS)
    return Evidence(
        usual_error_ratio=draw(st.floats(0, 1)),
        recent=Labelled(rows, draw(st.integers(0, rows))),
        of_new_labels=Labelled(new, draw(st.integers(0, new))),
        labels=draw(st.integers(2, 100)),
        new_labels=draw(st.integers(0, 2)),
        new_examples=draw(_COUNTS),
        drift=draw(st.booleans()),
        untrained=draw(st.booleans()),
        fulls_in_vain=draw(st.integers(0, 40)),
        fulls_unproven=draw(st.integers(0, 40)),
        recovered_ratio=draw(st.none() | st.floats(0, 1)),
        expected_full_s=draw(st.floats(0, 1e6)),
        budget_left_s=draw(st.none() | st.floats(0, 1e6)),
    )


@given(_evidence())
def test_the_choice_is_explained_and_grows_with_what_speaks_for_it(evidence: Evidence) -> None:
    choice = choose_speed(evidence)
    assert choice.why.startswith(f"{choice.speed}: ")
    if choice.speed == "full":
        assert choose_speed(replace(evidence, new_examples=evidence.new_examples + 100)).speed == "full"
        assert choose_speed(replace(evidence, drift=True)).speed == "full"
        assert choose_speed(replace(evidence, budget_left_s=None)).speed == "full"


def test_thirty_rounds_in_vain_cost_two_full_runs_at_most() -> None:
    # 33 labelled texts a round, as in a month of the headlines; a quarter wrong where a tenth is usual, and no run changes it.
    fulls = seen = 0
    for number in range(1, 31):
        labelled = 33 * number
        rows = labelled // 5
        evidence = replace(
            _GAP,
            recent=Labelled(rows, rows // 4),
            new_examples=labelled - seen,
            fulls_in_vain=fulls,
            recovered_ratio=_closed(fulls),
        )
        if choose_speed(evidence).speed == "full":
            fulls, seen = fulls + 1, labelled
    assert fulls <= 2


def _closed(fulls: int) -> float | None:
    """Return the share of a gap closed so far, where each of ``fulls`` runs closed none of it."""
    return 0.15 / (1 + fulls) if fulls else None


@given(st.integers(1, 1000), st.floats(0, 1))
def test_the_least_error_is_no_more_than_the_error(rows: int, share: float) -> None:
    labelled = Labelled(rows, round(share * rows))
    assert 0.0 <= labelled.least_error_ratio() <= labelled.wrong / rows
