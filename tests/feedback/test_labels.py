"""Contract of decisions about labels, over every database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import Conflict
from core.label_bodies import LabelEventRequest
from core.schemas import CorrectionRequest
from feedback.examples import Example
from feedback.labels import Backing, with_labels_of
from feedback.store import Store

KNOWN = ("negative", "neutral", "positive")
NEEDED = Backing(texts=3, annotators=2)


def _propose(store: Store, text: str, annotator: str | None, label: str = "mixed") -> str:
    request = CorrectionRequest(text=text, label=label, annotator=annotator)
    return store.add_correction(request, proposes=True).correction_id


def _decide(store: Store, action: str, label: str, into: str | None = None) -> None:
    body = {"action": action, "label": label, "into": into, "by": "ann"}
    store.decide_label(LabelEventRequest.model_validate(body), KNOWN)


def test_a_proposal_enters_once_enough_texts_of_enough_annotators_back_it(store: Store) -> None:
    first = _propose(store, "a", "ann")
    for text, annotator in [("A", "ben"), ("b", None), ("c", "ann")]:
        assert store.correction(first).proposed
        assert store.accept_backed_labels(NEEDED) == []
        _propose(store, text, annotator)
    assert store.backing(["mixed", "other"]) == {"mixed": Backing(3, 2), "other": Backing(0, 0)}
    assert store.accept_backed_labels(Backing(texts=0, annotators=0)) == []
    assert store.accept_backed_labels(NEEDED) == ["mixed"]
    assert store.accept_backed_labels(NEEDED) == []
    assert not store.correction(first).proposed
    assert [event.action for event in store.label_events().events] == ["accept", "propose"]
    assert list(store.label_book().label_set(KNOWN)) == sorted([*KNOWN, "mixed"])


def test_what_was_withdrawn_backs_nothing(store: Store) -> None:
    for number, annotator in enumerate(["ann", "ben", "cai"]):
        request = CorrectionRequest(text=f"t{number}", label="mixed", annotator=annotator)
        store.add_correction(request, idempotency_key=f"k{number}", proposes=True)
    store.withdraw_corrections("k1")
    assert store.accept_backed_labels(NEEDED) == []


def test_a_proposal_takes_no_earlier_word_away_and_counts_once_accepted(store: Store) -> None:
    store.add_correction(CorrectionRequest(text="a", label="positive"))
    _propose(store, "a", "ann")
    assert [word.label for word in store.training_corrections()] == ["positive"]
    _decide(store, "accept", "mixed")
    assert [word.label for word in store.training_corrections()] == ["mixed"]
    _decide(store, "retire", "mixed")
    assert [word.label for word in store.training_corrections()] == ["positive"]


def test_corrections_keep_their_label_and_train_under_the_one_it_stands_for(store: Store) -> None:
    store.add_correction(CorrectionRequest(text="a", label="neutral"))
    _decide(store, "rename", "neutral", "so-so")
    _decide(store, "merge", "so-so", "negative")
    assert [word.label for word in store.training_corrections()] == ["negative"]
    assert [answer.label for answer in store.corrections().corrections] == ["neutral"]


def test_base_examples_follow_the_decisions(store: Store) -> None:
    examples = [Example.of(label, label) for label in KNOWN]
    _decide(store, "rename", "positive", "good")
    book = store.label_book()
    assert [example.label for example in with_labels_of(book, examples)] == ["negative", "neutral", "good"]


def test_one_decision_sent_twice_is_kept_once_and_its_contrary_is_another(store: Store) -> None:
    request = LabelEventRequest.model_validate({"action": "rename", "label": "neutral", "into": "so-so"})
    with ThreadPoolExecutor(10) as pool:
        events = list(pool.map(lambda _: store.decide_label(request, KNOWN), range(10)))
    assert len({event.sequence for event in events}) == 1
    with pytest.raises(Conflict):
        _decide(store, "rename", "positive", "so-so")
    _decide(store, "rename", "so-so", "neutral")
    assert list(store.label_book().label_set(KNOWN)) == list(KNOWN)


def test_decisions_are_listed_newest_first_in_pages(store: Store) -> None:
    for number in range(3):
        _decide(store, "accept", f"label {number}")
    page = store.label_events(limit=2)
    rest = store.label_events(limit=2, before=page.next_before)
    assert [event.label for event in [*page.events, *rest.events]] == ["label 2", "label 1", "label 0"]
    assert rest.next_before is None
