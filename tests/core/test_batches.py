"""Planning batches."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.batches import plan_batches

_lengths = st.lists(st.integers(0, 600), max_size=80)
_most_texts, _most_tokens = st.integers(1, 40), st.integers(1, 4096)


@given(_lengths, _most_texts, _most_tokens)
def test_every_position_occurs_once(lengths: list[int], max_texts: int, max_tokens: int) -> None:
    batches = plan_batches(lengths, max_texts=max_texts, max_tokens=max_tokens)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))


@given(_lengths, _most_texts, _most_tokens)
def test_no_batch_exceeds_its_budget_unless_one_text_does_alone(lengths: list[int], max_texts: int, max_tokens: int) -> None:
    for batch in plan_batches(lengths, max_texts=max_texts, max_tokens=max_tokens):
        assert 1 <= len(batch) <= max_texts
        assert len(batch) == 1 or max(lengths[place] for place in batch) * len(batch) <= max_tokens


@given(_lengths, _most_texts, _most_tokens)
def test_shortest_texts_come_first_and_equals_keep_their_order(lengths: list[int], max_texts: int, max_tokens: int) -> None:
    order = [place for batch in plan_batches(lengths, max_texts=max_texts, max_tokens=max_tokens) for place in batch]
    assert order == sorted(range(len(lengths)), key=lambda place: (lengths[place], place))


@given(_lengths, _most_texts, _most_tokens)
def test_no_two_neighbours_would_have_fitted_into_one_batch(lengths: list[int], max_texts: int, max_tokens: int) -> None:
    batches = plan_batches(lengths, max_texts=max_texts, max_tokens=max_tokens)
    for batch, following in pairwise(batches):
        size = len(batch) + 1
        assert size > max_texts or size * lengths[following[0]] > max_tokens


@pytest.mark.parametrize(
    ("lengths", "max_texts", "max_tokens", "batches"),
    [
        ([], 8, 100, []),
        ([7], 8, 1, [[0]]),
        ([0, 0, 0], 2, 1, [[0, 1], [2]]),
        ([5, 5, 5, 5], 8, 10, [[0, 1], [2, 3]]),
        ([100, 1, 1], 8, 10, [[1, 2], [0]]),
        ([3, 1, 2], 1, 100, [[1], [2], [0]]),
    ],
)
def test_known_plans(lengths: list[int], max_texts: int, max_tokens: int, batches: list[list[int]]) -> None:
    assert plan_batches(lengths, max_texts=max_texts, max_tokens=max_tokens) == batches
