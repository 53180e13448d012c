"""What is held back from training, for which reason, and what people decide stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from core.text import text_key
from feedback.consensus import Vote
from feedback.suspicion import Evidence, Limits
from feedback.trust import Standing, Trusted, trust

_LIMITS = Limits(0.95, 0.5, 0.5, 0.6, burst_corrections=50, burst_window_s=60.0, resemblance=0.85)
_START = datetime(2025, 1, 1, tzinfo=UTC)
_LONG = "the delivery came three days late and the box was open when it arrived at the door"


def vote(sequence: int, text: str, label: str, annotator: str = "ann", at_s: float | None = None) -> Vote:
    """Return a vote; one an hour unless ``at_s`` says when."""
    moment = _START + timedelta(seconds=sequence * 3600 if at_s is None else at_s)
    return Vote(sequence, text, text_key(text), label, "correction", annotator, moment)


def rules(trusted: Trusted) -> dict[int, list[str]]:
    """Return the names of the rules against each correction."""
    return {sequence: [reason.rule for reason in reasons] for sequence, reasons in trusted.suspicions.items()}


def learned(trusted: Trusted) -> dict[str, str]:
    """Return the labels that training gets, by text."""
    return {correction.text: correction.label for correction in trusted.corrections}


def test_a_lone_correction_is_learned() -> None:
    trusted = trust([vote(1, "a", "x")], {}, {}, _LIMITS)
    assert (learned(trusted), rules(trusted)) == ({"a": "x"}, {})
    assert trusted.corrections[0].supported_by == (1,)


def test_a_sure_model_holds_one_annotator_back_but_not_two() -> None:
    evidence = {sequence: Evidence("v1", "y", 0.97) for sequence in (1, 2, 3)}
    alone = trust([vote(1, "a", "x")], {}, evidence, _LIMITS)
    assert (learned(alone), rules(alone)) == ({}, {1: ["contradicts_model"]})
    (reason,) = alone.suspicions[1]
    assert (reason.value, reason.limit) == (0.97, 0.95)
    assert "97.0%" in reason.why
    together = trust([vote(1, "a", "x"), vote(2, "a", "x", "ben")], {}, evidence, _LIMITS)
    assert (learned(together), rules(together)) == ({"a": "x"}, {})
    assert together.corrections[0].supported_by == (1, 2)
    unsure = trust([vote(1, "a", "x")], {}, {1: Evidence("v1", "y", 0.94)}, _LIMITS)
    assert learned(unsure) == {"a": "x"}
    confirmed = trust([vote(1, "a", "y")], {}, evidence, _LIMITS)
    assert learned(confirmed) == {"a": "y"}


def test_annotators_who_differ_wait_for_a_third() -> None:
    votes = [vote(1, "a", "x"), vote(2, "a", "y", "ben")]
    assert rules(trust(votes, {}, {}, _LIMITS)) == {1: ["disputed"], 2: ["disputed"]}
    settled = trust([*votes, vote(3, "a", "y", "cid")], {}, {}, _LIMITS)
    assert (learned(settled), rules(settled)) == ({"a": "y"}, {})
    assert settled.corrections[0].supported_by == (2, 3)


def test_without_a_limit_no_model_holds_anybody_back() -> None:
    never = replace(_LIMITS, model_score=1.0)
    certain = trust([vote(1, "a", "x")], {}, {1: Evidence("v1", "y", 1.0)}, never)
    assert (learned(certain), rules(certain)) == ({"a": "x"}, {})


def test_the_holdout_is_not_contradicted() -> None:
    votes = [vote(1, "a", "x"), vote(2, "b", "x")]
    trusted = trust(votes, {text_key("a"): "y", text_key("b"): "x"}, {}, _LIMITS)
    assert rules(trusted) == {1: ["contradicts_holdout"]}


def test_all_of_a_burst_is_held_back_and_nothing_else() -> None:
    slow = [vote(number, f"slow {number}", "x", at_s=100.0 + number * 60) for number in range(60)]
    quick = [vote(100 + number, f"quick {number}", "x", "bot", at_s=number) for number in range(55)]
    trusted = trust(slow + quick, {}, {}, _LIMITS)
    assert rules(trusted) == {100 + number: ["burst"] for number in range(55)}
    unlimited = trust(slow + quick, {}, {}, replace(_LIMITS, burst_corrections=0))
    assert rules(unlimited) == {}


def test_near_duplicates_with_other_labels_are_held_back_where_as_few_say_so() -> None:
    other = _LONG.replace("door", "doors") + "!"
    votes = [vote(1, _LONG, "x"), vote(2, other, "y", "ben"), vote(3, "something else " * 5, "y")]
    assert rules(trust(votes, {}, {}, _LIMITS)) == {1: ["near_duplicate"], 2: ["near_duplicate"]}
    backed = trust([*votes, vote(4, other, "y", "cid")], {}, {}, _LIMITS)
    assert rules(backed) == {1: ["near_duplicate"]}
    alike = trust([vote(1, _LONG, "x"), vote(2, other, "x", "ben")], {}, {}, _LIMITS)
    assert rules(alike) == {}


def test_all_of_an_unreliable_annotator_is_held_back() -> None:
    votes = [
        vote(place * 100 + number, f"t{number}", label, who)
        for number in range(40)
        for place, (who, label) in enumerate([("ann", "x"), ("ben", "x"), ("eve", "y")])
    ]
    alone = vote(999, "of eve alone", "y", "eve")
    trusted = trust([*votes, alone], {}, {}, _LIMITS)
    assert set(rules(trusted)[999]) == {"unreliable_annotator"}
    assert set(learned(trusted).values()) == {"x"}
    assert len(learned(trusted)) == 40


def test_what_people_decided_stands() -> None:
    evidence = {1: Evidence("v1", "y", 0.99)}
    votes = [vote(1, "a", "x"), vote(2, "b", "x")]
    released = trust(votes, {}, evidence, _LIMITS, Standing(released={1}))
    assert learned(released) == {"a": "x", "b": "x"}
    assert rules(released) == {}
    upheld = trust(votes, {}, {}, _LIMITS, Standing(upheld={2}))
    assert learned(upheld) == {"a": "x"}


def test_one_who_says_more_than_all_others_does_not_decide_who_is_right() -> None:
    """Each honest annotator shares texts with the hostile one alone; where they differ, a sure model tells who is right."""
    votes: list[Vote] = []
    evidence: dict[int, Evidence] = {}
    for number in range(90):
        text, right, wrong = f"t{number}", "xy"[number % 2], "yx"[number % 2]
        votes += [vote(2 * number, text, right, ("ann", "ben", "cid")[number // 30]), vote(2 * number + 1, text, wrong, "eve")]
        if number % 3 == 0:
            evidence |= {2 * number: Evidence("v1", right, 0.97), 2 * number + 1: Evidence("v1", right, 0.97)}
    trusted = trust(votes, {}, evidence, _LIMITS)
    assert [item.annotator for item in trusted.consensus.reliabilities][-1] == "eve"
    assert len(trusted.consensus.reliabilities) == 4
    assert learned(trusted) == {f"t{number}": "xy"[number % 2] for number in range(90)}


def drawn(wrong: Mapping[str, int], each: int = 40) -> tuple[list[Vote], dict[int, Evidence]]:
    """Return what annotators say of ``each`` texts that chance drew, differing from the model in so many of them."""
    votes: list[Vote] = []
    for who, against in wrong.items():
        for number in range(each):
            label = "y" if number < against else "x"
            votes.append(replace(vote(len(votes), f"{who} {number}", label, who), drawn=True))
    # Of another text it said the other label, so it knows both.
    return votes, {vote.sequence: Evidence("v1", "x", 0.8) for vote in votes} | {-1: Evidence("v1", "y", 0.8)}


def test_one_who_contradicts_the_model_where_others_do_not_is_held_back_without_a_second_opinion() -> None:
    votes, evidence = drawn({"ann": 8, "ben": 9, "cid": 7, "eve": 32})
    alone = vote(900, "a correction of eve", "y", "eve")
    trusted = trust([*votes, alone], {}, evidence, _LIMITS)
    assert {vote.annotator for vote in [*votes, alone] if vote.sequence in trusted.suspicions} == {"eve"}
    assert set(rules(trusted)[900]) == {"contrary_annotator"}
    assert len(learned(trusted)) == 120
    (reason,) = trusted.suspicions[900]
    assert reason.limit == 0.5 < reason.value < 0.8
    assert reason.why.startswith("of 40 texts that chance drew for this annotator 32 were given another label than the model's")


def test_where_everybody_contradicts_the_model_it_is_the_model_that_is_wrong() -> None:
    votes, evidence = drawn({"ann": 30, "ben": 31, "cid": 33})
    assert rules(trust(votes, {}, evidence, _LIMITS)) == {}


def test_who_uses_a_new_label_first_is_not_contrary() -> None:
    votes, evidence = drawn({"ann": 8, "ben": 9, "cid": 7, "eve": 36})
    del evidence[-1]
    assert rules(trust(votes, {}, evidence, _LIMITS)) == {}


def test_of_two_who_differ_nobody_knows_who_is_right() -> None:
    votes, evidence = drawn({"ann": 4, "eve": 36})
    assert rules(trust(votes, {}, evidence, _LIMITS)) == {}


def test_who_corrects_a_lot_is_not_contrary() -> None:
    """Corrections differ from the model by what they are; only what chance drew for an annotator tells of them."""
    votes, evidence = drawn({"ann": 8, "ben": 9, "cid": 7})
    corrections = [vote(500 + number, f"correction {number}", "y", "cid") for number in range(200)]
    evidence |= {item.sequence: Evidence("v1", "x", 0.8) for item in corrections}
    assert rules(trust([*votes, *corrections], {}, evidence, _LIMITS)) == {}


def test_second_opinions_on_what_a_contrary_annotator_said_do_not_turn_the_tables() -> None:
    """Where honest annotators share texts with the contrary one alone, that all of them are wrong would explain it as well."""
    votes, evidence = drawn({"ann": 8, "ben": 9, "cid": 7, "eve": 36})
    opinions = [
        replace(
            item, sequence=1000 + item.sequence, annotator=("ann", "ben")[item.sequence % 2], label="yx"["xy".index(item.label)]
        )
        for item in votes
        if item.annotator == "eve"
    ]
    trusted = trust([*votes, *(replace(item, drawn=False) for item in opinions)], {}, evidence, _LIMITS)
    assert {vote.annotator for vote in votes if vote.sequence in trusted.suspicions} == {"eve"}
    assert not {item.sequence for item in opinions} & set(trusted.suspicions)
    assert [item.annotator for item in trusted.consensus.reliabilities][-1] == "eve"
    assert trusted.consensus.of("eve").accuracy < 0.2


def test_two_contrary_annotators_do_not_vouch_for_each_other() -> None:
    votes, evidence = drawn({"ann": 8, "ben": 9, "cid": 7, "dee": 8, "eve": 32, "eva": 33})
    both = [vote(900, "sure", "y", "eve"), vote(901, "sure", "y", "eva")]
    evidence |= {900: Evidence("v1", "x", 0.99), 901: Evidence("v1", "x", 0.99)}
    found = rules(trust([*votes, *both], {}, evidence, _LIMITS))
    assert set(found[900]) == set(found[901]) == {"contrary_annotator", "contradicts_model"}


def test_without_a_limit_nobody_is_contrary() -> None:
    votes, evidence = drawn({"ann": 8, "ben": 9, "cid": 7, "eve": 40})
    assert rules(trust(votes, {}, evidence, replace(_LIMITS, contrary_ratio=1.0))) == {}


def test_what_is_learned_tells_whether_chance_drew_it() -> None:
    votes = [replace(vote(1, "a", "x"), drawn=True), vote(2, "a", "x", "ben"), vote(3, "b", "x")]
    assert {item.text: item.drawn for item in trust(votes, {}, {}, _LIMITS).corrections} == {"a": True, "b": False}
