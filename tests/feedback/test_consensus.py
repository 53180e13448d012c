"""Annotators who differ: the published example of the method, and what it must do for Hone."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.text import text_key
from feedback.consensus import Vote, find_consensus
from feedback.dawid_skene import Prior, VoteArrays, fit

_MOMENT = datetime(2025, 1, 1, tzinfo=UTC)
# Table 1 of Dawid and Skene (1979): what five anaesthetists, the first of them three times, said of 45 patients.
_TABLE = """\
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111 2223212 1211111
1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111 1111111 1121121
1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222"""


def vote(number: int, label: str, annotator: str, sequence: int = 0) -> Vote:
    """Return a vote on the text of that number."""
    text = f"text number {number}"
    return Vote(sequence, text, text_key(text), label, "correction", annotator, _MOMENT)


def test_the_published_example_comes_out_as_published() -> None:
    rows = [
        (patient, max(0, place - 2), int(said) - 1)
        for patient, line in enumerate(_TABLE.split())
        for place, said in enumerate(line)
    ]
    text, voter, label = np.array(rows, dtype=np.int64).T
    found = fit(VoteArrays(text, voter, label, 45, 5, 4), np.full(45, -1), Prior(strength=0.0))
    assert np.round(found.label_shares, 2).tolist() == [0.40, 0.42, 0.11, 0.07]
    best = found.posterior.argmax(axis=1) + 1
    alike = [place for place, line in enumerate(_TABLE.split()) if len(set(line)) == 1]
    assert [int(best[place]) for place in alike] == [int(_TABLE.split()[place][0]) for place in alike]
    assert found.posterior.sum(axis=1) == pytest.approx(np.ones(45))


def test_an_annotator_who_is_always_contradicted_counts_for_nothing() -> None:
    votes = [vote(number, "ab"[number % 2], who) for number in range(30) for who in ("ann", "ben")]
    votes += [vote(number, "ba"[number % 2], "eve") for number in range(30)]
    consensus = find_consensus(votes, {})
    assert [item.annotator for item in consensus.reliabilities][-1] == "eve"
    assert consensus.of("eve").high < 0.3
    assert consensus.of("ann").low > 0.8
    decisions = consensus.decide(votes)
    assert [decisions[text_key(f"text number {number}")].label for number in (0, 1)] == ["a", "b"]


def test_two_strangers_who_differ_leave_it_open() -> None:
    votes = [vote(0, "a", "ann"), vote(0, "b", "ben")]
    (decision,) = find_consensus(votes, {}).decide(votes).values()
    assert decision.probability == pytest.approx(0.5)
    assert decision.voters == 2


def test_held_out_texts_judge_who_speaks_alone() -> None:
    votes = [vote(number, "a", "ann") for number in range(20)]
    known = {text_key(f"text number {number}"): "b" for number in range(20)}
    assert find_consensus(votes, {}).of("ann").judged == 0
    assert find_consensus(votes, known).of("ann").high < 0.4


@given(st.integers(0, 10_000))
def test_the_order_of_votes_does_not_matter(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - test data
    votes = [vote(number % 7, chance.choice("abc"), who, number) for number in range(20) for who in "xyz"]
    unique = list({(item.text_key, item.annotator): item for item in votes}.values())
    shuffled = chance.sample(unique, len(unique))
    first, second = find_consensus(unique, {}), find_consensus(shuffled, {})
    assert first.reliabilities == second.reliabilities
    ours, theirs = first.decide(unique), second.decide(unique)
    assert ours == theirs
