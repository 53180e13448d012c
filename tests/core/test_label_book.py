"""What decisions about labels amount to, whatever their order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Conflict, InputError, UnknownLabel
from core.label_bodies import LabelEvent, LabelEventRequest
from core.label_book import LabelBook, check_event, check_label_name
from core.schemas import now

KNOWN = ["a", "b", "c"]


def _book(*events: tuple[str, str, str | None]) -> LabelBook:
    made = [
        {"sequence": place, "action": action, "label": label, "into": into, "by": "ann", "why": "-", "created_at": now()}
        for place, (action, label, into) in enumerate(events)
    ]
    return LabelBook.of(LabelEvent.model_validate(event) for event in made)


def _request(action: str, label: str, into: str | None = None) -> LabelEventRequest:
    return LabelEventRequest.model_validate({"action": action, "label": label, "into": into})


def test_names_follow_each_other_and_a_name_that_comes_back_is_itself() -> None:
    book = _book(("rename", "a", "x"), ("merge", "x", "b"), ("rename", "b", "a"))
    assert [book.now(name) for name in ("a", "x", "b", "c")] == ["a", "a", "a", "c"]
    assert list(book.label_set(KNOWN)) == ["a", "c"]


def test_old_names_may_be_said_and_retired_ones_may_not() -> None:
    allowed = _book(("rename", "a", "x"), ("retire", "b", None)).allowed(KNOWN)
    assert [allowed.check(name) for name in ("a", "x", "c")] == [False] * 3
    for propose in (False, True):
        with pytest.raises(UnknownLabel) as caught:
            allowed.check("b", propose=propose)
        assert caught.value.details["nearest"]


def test_a_new_label_is_refused_with_the_nearest_ones_or_proposed() -> None:
    allowed = LabelBook().allowed(["lost card", "stolen card"])
    with pytest.raises(UnknownLabel) as caught:
        allowed.check("lost cart")
    assert caught.value.details["nearest"] == ["lost card", "stolen card"]
    assert "new_labels=propose" in caught.value.message
    assert allowed.check("lost cart", propose=True)


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "a\u200bb", "a\0", "x" * 201])
def test_a_name_no_label_can_have_is_not_proposed(name: str) -> None:
    with pytest.raises(InputError):
        check_label_name(name)
    with pytest.raises(InputError):
        LabelBook().allowed(KNOWN).check(name, propose=True)


def test_what_was_turned_down_is_not_proposed_again_until_an_operator_takes_it() -> None:
    down = [("propose", "x", None), ("reject", "x", None)]
    with pytest.raises(UnknownLabel):
        _book(*down).allowed(KNOWN).check("x", propose=True)
    assert "x" in _book(*down, ("accept", "x", None)).label_set(KNOWN)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (_request("merge", "a"), InputError),
        (_request("retire", "a", "b"), InputError),
        (_request("merge", "a", "nothing"), UnknownLabel),
        (_request("rename", "nothing", "x"), UnknownLabel),
        (_request("merge", "a", "a"), Conflict),
        (_request("rename", "a", "b"), Conflict),
        (_request("accept", "a"), Conflict),
        (_request("reject", "a"), Conflict),
    ],
)
def test_decisions_that_contradict_how_labels_stand_are_refused(request_: LabelEventRequest, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_event(request_, LabelBook(), KNOWN)


@pytest.mark.parametrize("request_", [_request("retire", "a"), _request("merge", "a", "b")])
def test_two_labels_must_remain(request_: LabelEventRequest) -> None:
    check_event(request_, LabelBook(), KNOWN)
    with pytest.raises(Conflict):
        check_event(request_, LabelBook(), ["a", "b"])


_NAMES = st.sampled_from([*KNOWN, "x", "y"])
_ACTIONS = st.sampled_from(["propose", "accept", "reject", "merge", "rename", "retire"])


@given(st.lists(st.tuples(_ACTIONS, _NAMES, _NAMES), max_size=20))
def test_every_name_stands_for_a_label_of_the_set_or_for_nothing(drawn: list[tuple[str, str, str]]) -> None:
    taken: list[tuple[str, str, str | None]] = []
    for action, label, into in drawn:
        event = (action, label, into if action in ("merge", "rename") else None)
        book = _book(*taken)
        if action != "propose":
            try:
                check_event(_request(*event), book, KNOWN)
            except (Conflict, InputError, UnknownLabel):
                continue
        elif label in book.allowed(KNOWN).names | book.allowed(KNOWN).closed:
            continue
        taken.append(event)
    book = _book(*taken)
    labels = book.label_set(KNOWN)
    assert len(labels) >= 2
    assert all(book.now(name) is None or book.now(name) in labels for name in [*KNOWN, *book.added])
    # What stands for something stands for itself: nothing has to be followed twice.
    assert all(book.now(name) == name for name in labels)
    assert not book.silent & set(labels)
