"""The ordered set of labels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UnknownLabel
from core.labels import LabelSet

_names = st.lists(st.text(max_size=8), min_size=1, max_size=12, unique=True)


@given(_names)
def test_every_label_has_its_own_row_in_the_given_order(names: list[str]) -> None:
    labels = LabelSet(tuple(names))
    assert [labels.index(name) for name in names] == list(range(len(names)))
    assert list(labels) == names
    assert len(labels) == len(names)
    assert all(name in labels for name in names)


@given(_names)
def test_of_sorts_and_drops_repetitions(names: list[str]) -> None:
    assert LabelSet.of(names + names[::-1]).names == tuple(sorted(names))
    assert LabelSet.of(iter(names)) == LabelSet.of(names[::-1])
    assert len({LabelSet.of(names), LabelSet.of(names[::-1])}) == 1


@given(_names, st.text(max_size=300))
def test_an_unknown_label_is_refused_with_the_nearest_and_without_itself(names: list[str], label: str) -> None:
    labels = LabelSet(tuple(names))
    if label in names:
        return
    assert label not in labels
    with pytest.raises(UnknownLabel) as caught:
        labels.index(label)
    nearest = caught.value.details["nearest"]
    assert isinstance(nearest, list)
    assert 1 <= len(nearest) <= 5
    assert set(nearest) <= set(names)
    assert caught.value.details["known_count"] == len(names)
    assert caught.value.message == f"label is not one of the {len(names)} known labels; nearest: {', '.join(nearest)}"


def test_the_nearest_labels_come_best_first_whatever_their_case() -> None:
    labels = LabelSet.of(["Card_Arrival", "card_linking", "top_up", "age_limit"])
    assert labels.nearest("card_arival")[:2] == ["Card_Arrival", "card_linking"]
    assert labels.nearest("CARD_LINKING")[0] == "card_linking"
    assert labels.nearest("完全不同") == list(labels.names)


def test_labels_are_told_apart_by_case_and_spaces() -> None:
    labels = LabelSet(("Good", "good"))
    assert labels.index("good") == 1
    with pytest.raises(UnknownLabel):
        labels.index("good ")


def test_repeated_labels_are_refused_by_their_number() -> None:
    with pytest.raises(ValueError, match="labels must differ, got 2 repeated"):
        LabelSet(("a", "b", "a", "a"))


@pytest.mark.parametrize("other", [None, 1, 1.5, ("good",)])
def test_what_is_no_label_is_not_contained(other: object) -> None:
    assert other not in LabelSet(("good", "bad"))
