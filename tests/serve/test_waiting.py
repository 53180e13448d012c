"""Choosing what goes to the engine together."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from serve.waiting import PADDING_RATIO, PADDING_TOKENS, BatchBudget, WaitingText, WaitingTexts

Content = TypeVar("Content")

lengths = st.lists(st.integers(0, 300), max_size=60)
budgets = st.builds(BatchBudget, st.integers(1, 16), st.integers(16, 1024))


def _line(tokens: list[int], models: list[str] | None = None) -> WaitingTexts[int]:
    line: WaitingTexts[int] = WaitingTexts()
    for place, length in enumerate(tokens):
        line.add(WaitingText(models[place] if models else "m", length, place))
    return line


def _drain(line: WaitingTexts[Content], budget: BatchBudget) -> list[list[WaitingText[Content]]]:
    batches = []
    while batch := line.take(budget):
        batches.append(batch)
    return batches


@given(lengths, budgets)
def test_every_text_is_taken_once_and_within_the_budget(tokens: list[int], budget: BatchBudget) -> None:
    batches = _drain(_line(tokens), budget)
    assert sorted(text.content for batch in batches for text in batch) == list(range(len(tokens)))
    for batch in batches:
        cost = max(text.tokens for text in batch) * len(batch)
        assert len(batch) <= budget.max_texts
        assert cost <= budget.max_tokens or len(batch) == 1
        assert cost - sum(text.tokens for text in batch) <= max(PADDING_TOKENS, PADDING_RATIO * cost)


@given(lengths, budgets)
def test_the_oldest_text_is_in_every_batch(tokens: list[int], budget: BatchBudget) -> None:
    line = _line(tokens)
    left = list(range(len(tokens)))
    while batch := line.take(budget):
        assert left[0] in [text.content for text in batch]
        left = [place for place in left if place not in {text.content for text in batch}]


def test_texts_that_came_alone_go_between_those_of_a_request_of_many() -> None:
    line: WaitingTexts[str] = WaitingTexts()
    for place in range(6):
        line.add(WaitingText("m", 100, f"many {place}"), beside=5)
    for place in range(6):
        line.add(WaitingText("m", 10, f"one {place}"))
    one_by_one = [batch[0].content for batch in _drain(line, BatchBudget(1, 1024))]
    ahead, behind = zip(*(one_by_one[place : place + 2] for place in range(1, 11, 2)), strict=True)
    assert one_by_one[0] == "many 0"
    assert list(ahead) == [f"many {place}" for place in range(1, 6)]
    assert list(behind) == [f"one {place}" for place in range(5)]


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 5)), max_size=60))
def test_nobody_is_passed_by_more_than_come_with_it(texts: list[tuple[int, int]]) -> None:
    line: WaitingTexts[int] = WaitingTexts()
    for place, (length, beside) in enumerate(texts):
        line.add(WaitingText("m", length, place), beside=beside)
    order = [batch[0].content for batch in _drain(line, BatchBudget(1, 1024))]
    for turn, place in enumerate(order):
        assert sum(later > place for later in order[:turn]) <= texts[place][1]


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from("ab")), max_size=40), budgets)
def test_a_batch_holds_texts_of_one_model(texts: list[tuple[int, str]], budget: BatchBudget) -> None:
    line = _line([length for length, _ in texts], [model for _, model in texts])
    for batch in _drain(line, budget):
        assert len({text.model for text in batch}) == 1
    assert not line._lines, "a line that is empty must not keep its model alive"
    assert not line._turns


@given(lengths, st.sets(st.integers(0, 59)))
def test_removed_texts_are_never_taken(tokens: list[int], removed: set[int]) -> None:
    line: WaitingTexts[int] = WaitingTexts()
    texts = [WaitingText("m", length, place) for place, length in enumerate(tokens)]
    for text in texts:
        line.add(text)
    for place in removed & set(range(len(texts))):
        line.remove(texts[place])
        line.remove(texts[place])
    taken = {text.content for batch in _drain(line, BatchBudget(8, 512)) for text in batch}
    assert taken == set(range(len(texts))) - removed
    assert len(line) == 0


def test_texts_of_like_length_go_together() -> None:
    batches = _drain(_line([10, 200, 11, 9, 201, 10]), BatchBudget(32, 4096))
    assert [[text.tokens for text in batch] for batch in batches] == [[9, 10, 10, 11], [200, 201]]


def test_a_text_larger_than_the_whole_budget_goes_alone() -> None:
    batches = _drain(_line([5000, 5000]), BatchBudget(32, 4096))
    assert [len(batch) for batch in batches] == [1, 1]
