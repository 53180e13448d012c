"""The review queue: filled by chance and by doubt, handed out to one at a time, answered, skipped, undone."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from core.errors import Conflict, NotFound
from core.quality_bodies import Reason, Stratum, SuspicionDecision
from core.schemas import CorrectionRequest
from feedback.accuracy import Judged, is_drawn
from feedback.sampling import margins, next_strata, pick_uncertain_and_diverse
from feedback.store import Store
from feedback.suspicion import Evidence
from tests.feedback.records import prediction

_SHARES: dict[Stratum, float] = {"audit": 0.3, "suspect": 0.3, "uncertain": 0.4}
_REASON = Reason(rule="burst", value=9.0, limit=5.0, why="so many")


def ask(store: Store, who: str, limit: int = 1, lease_s: float = 600.0) -> list[Any]:
    return store.next_review(who, limit, _SHARES, lease_s).items


def fill_audit(store: Store, count: int = 40) -> list[str]:
    """Log predictions, half of them drawn, and return the ids that are."""
    moment = datetime.now(UTC)
    store.log_predictions([prediction(number, score=0.5 + number / 1000, created_at=moment) for number in range(count)])
    assert store.draw_audit(0.5, None) == moment
    return [f"p{number}" for number in range(count) if is_drawn(f"p{number}", 0.5)]


def quarantine(store: Store, text: str, annotator: str = "eve") -> str:
    """Keep a correction and hold it back; return its id."""
    answer = store.add_correction(CorrectionRequest(text=text, label="x", annotator=annotator))
    sequence = store.last_sequence()
    store.keep_suspicions({sequence: (_REASON,)}, {sequence: Evidence("v1", "y", 0.99)}, [sequence])
    store.ask_about_suspects()
    return answer.correction_id


def test_chance_draws_each_prediction_once_and_writes_its_probability_down(store: Store) -> None:
    drawn = fill_audit(store)
    store.draw_audit(0.5, None)
    store.draw_audit(0.5, datetime.now(UTC))
    answer = store.next_review("ann", 100, _SHARES, 600.0)
    assert len(answer.items) == len(drawn) == answer.open["audit"]
    assert {item.predicted_label for item in answer.items} == {None}
    for item in answer.items:
        store.finish_review(item.item_id, "ann", "positive")
    assert store.audit_sample() == {"v1": [Judged(right=True, inclusion_probability=0.5, count=len(drawn))]}
    assert store.audit_waiting() == {}


def test_a_vote_tells_whether_chance_drew_its_text_for_who_cast_it(store: Store) -> None:
    store.log_predictions([prediction(number) for number in range(3)])
    store.draw_audit(1.0, None)
    for item in ask(store, "ann", 2):
        task = store.review_task(item.item_id, "ann")
        store.add_correction(CorrectionRequest(prediction_id=task.prediction_id, label="negative", annotator="ann"))
        store.add_correction(CorrectionRequest(prediction_id=task.prediction_id, label="negative", annotator="ben"))
        store.finish_review(item.item_id, "ann", "negative")
    store.add_correction(CorrectionRequest(text="of nobody's drawing", label="negative", annotator="ann"))
    drawn = sorted((vote.annotator, vote.drawn) for vote in store.votes())
    assert drawn == [("ann", False)] + [("ann", True)] * 2 + [("ben", False)] * 2


def test_what_is_logged_in_part_weighs_more(store: Store) -> None:
    store.log_predictions([prediction(1, sample_ratio=0.25)])
    store.draw_audit(1.0, None)
    (item,) = ask(store, "ann")
    store.finish_review(item.item_id, "ann", "negative")
    assert store.audit_sample() == {"v1": [Judged(right=False, inclusion_probability=0.25)]}


def test_an_item_is_held_by_one_until_the_lease_ends(store: Store) -> None:
    fill_audit(store, 2)
    store.draw_audit(1.0, None)
    (first,) = ask(store, "ann")
    assert ask(store, "ann")[0].item_id == first.item_id
    (second,) = ask(store, "ben")
    assert second.item_id != first.item_id
    assert ask(store, "cid") == []
    with pytest.raises(Conflict, match="somebody else"):
        store.review_task(first.item_id, "ben")
    assert store.review_task(first.item_id, "ann").prediction_id is not None
    store.next_review("ann", 1, _SHARES, -1.0)
    assert [item.item_id for item in ask(store, "cid")] == [first.item_id]


def test_of_many_that_ask_at_once_each_gets_items_of_their_own(store: Store) -> None:
    fill_audit(store, 40)
    store.draw_audit(1.0, None)
    got: dict[str, list[str]] = {}

    def work(who: str) -> None:
        got[who] = [item.item_id for item in ask(store, who, 5)]

    threads = [threading.Thread(target=work, args=(f"annotator {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handed_out = [item for items in got.values() for item in items]
    assert len(handed_out) == len(set(handed_out)) == 30


def test_what_was_skipped_goes_to_others(store: Store) -> None:
    fill_audit(store, 1)
    store.draw_audit(1.0, None)
    (item,) = ask(store, "ann")
    store.skip_review(item.item_id, "ann")
    assert ask(store, "ann") == []
    assert [found.item_id for found in ask(store, "ben")] == [item.item_id]
    store.skip_review(item.item_id, "ben")
    assert store.undo_review(item.item_id, "ann") is None
    assert [found.item_id for found in ask(store, "ann")] == [item.item_id]
    with pytest.raises(NotFound):
        store.skip_review("i_nowhere", "ann")


def test_an_answer_is_undone_by_who_gave_it(store: Store) -> None:
    fill_audit(store, 1)
    store.draw_audit(1.0, None)
    (item,) = ask(store, "ann")
    task = store.review_task(item.item_id, "ann")
    store.finish_review(item.item_id, "ann", "negative")
    assert ask(store, "ben") == []
    for asked in (store.review_task, store.undo_review):
        with pytest.raises(Conflict):
            asked(item.item_id, "ben")
    assert store.undo_review(item.item_id, "ann") == task.key
    assert store.audit_sample() == {}
    again = store.review_task(item.item_id, "ann")
    assert again.key != task.key
    assert not again.key.startswith(task.key)


def test_a_suspect_is_judged_by_others_and_leaves_when_it_is_cleared(store: Store) -> None:
    correction_id = quarantine(store, "a doubtful text")
    assert ask(store, "eve") == []
    (item,) = ask(store, "ann")
    assert (item.stratum, item.text, item.predicted_label) == ("suspect", "a doubtful text", "y")
    assert item.reasons == [_REASON]
    task = store.review_task(item.item_id, "ann")
    assert (task.prediction_id, task.text) == (None, "a doubtful text")
    store.decide_suspicion(correction_id, SuspicionDecision(decision="release", by="op", why="known"))
    store.ask_about_suspects()
    assert ask(store, "ann") == []


def test_uncertain_predictions_are_asked_once_and_only_of_the_champion(store: Store) -> None:
    store.log_predictions([prediction(number, score=0.3 + number / 100, version=f"v{1 + number % 2}") for number in range(10)])
    store.log_predictions([prediction(20, score=0.2, text="text number 0", text_key=prediction(0).text_key)])
    store.add_correction(CorrectionRequest(prediction_id="p2", label="x"))
    found = store.uncertain_candidates("v1", 10)
    assert [candidate.prediction_id for candidate in found] == ["p20", "p4", "p6", "p8"]
    store.ask_about_uncertain(found, [0.0, 0.1, 0.2, 0.3])
    assert store.uncertain_candidates("v1", 10) == []
    assert store.uncertain_waiting("v1") == 4
    assert [item.text for item in ask(store, "ann", 2)] == ["text number 0", "text number 4"]
    assert store.uncertain_waiting("v2") == 2


def test_what_chance_draws_belongs_to_the_audit_whatever_else_it_is(store: Store) -> None:
    store.log_predictions([prediction(1)])
    store.ask_about_uncertain(store.uncertain_candidates("v1", 10), [0.0])
    store.draw_audit(1.0, None)
    (item,) = ask(store, "ann")
    assert item.stratum == "audit"


def test_turns_keep_to_the_shares_and_go_to_who_waits() -> None:
    waiting: dict[Stratum, int] = {"audit": 100, "suspect": 100, "uncertain": 100}
    turns = next_strata({}, waiting, _SHARES, 50)
    assert [turns.count(stratum) for stratum in _SHARES] == [15, 15, 20]
    assert next_strata({}, {"suspect": 2}, _SHARES, 5) == ["suspect", "suspect"]
    assert next_strata({"uncertain": 100}, {"uncertain": 1, "audit": 1}, _SHARES, 2) == ["audit", "uncertain"]


def test_picks_are_uncertain_and_unlike_each_other() -> None:
    scores = np.array([[0.5, 0.5], [0.9, 0.1], [0.6, 0.4]], dtype=np.float32)
    assert margins(scores) == pytest.approx([0.0, 0.8, 0.2])
    chance = np.random.default_rng(0)
    groups = np.repeat(np.eye(4, 8), 25, axis=0) + chance.normal(0, 0.01, (100, 8))
    margin = np.where(np.arange(100) < 25, 0.0, 0.1) + chance.random(100) / 100
    alone = pick_uncertain_and_diverse(margin, None, 4)
    assert {place // 25 for place in alone} == {0}
    diverse = pick_uncertain_and_diverse(margin, groups.astype(np.float32), 25)
    assert {place // 25 for place in diverse} == {0, 1, 2, 3}
    assert list(margin[diverse]) == sorted(margin[diverse])


def test_old_decisions_are_listed_with_who_took_them(store: Store) -> None:
    first, second = quarantine(store, "one"), quarantine(store, "two", "ann")
    page = store.quarantined(limit=1)
    assert (page.total, page.next_before) == (2, second)
    assert [item.correction.correction_id for item in store.quarantined(before=second).suspicions] == [first]
    assert page.suspicions[0].reasons == [_REASON]
    assert store.decide_suspicions("eve", SuspicionDecision(decision="uphold", by="op", why="a bot")) == 1
    (upheld,) = store.quarantined("upheld").suspicions
    assert (upheld.decided_by, upheld.decided_why, upheld.correction.correction_id) == ("op", "a bot", first)
    assert store.standing().upheld == {1}
    # What the rules say later does not change what a person decided.
    store.keep_suspicions({}, {}, [1, 2])
    assert store.quarantined("upheld").total == 1
    assert store.quarantined().total == 0
    with pytest.raises(Conflict):
        store.decide_suspicion(second, SuspicionDecision(decision="release", by="op", why="?"))
    assert store.evidence()[1] == Evidence("v1", "y", 0.99)


def test_the_last_word_of_each_annotator_is_a_vote(store: Store) -> None:
    store.log_predictions([prediction(1)])
    for label, who in (("x", "ann"), ("y", "ben"), ("y", "ann"), ("x", None), ("y", None)):
        store.add_correction(CorrectionRequest(text="text number 1", label=label, annotator=who))
    store.add_correction(CorrectionRequest(prediction_id="p1", label="positive", annotator="cid"))
    found = [(vote.annotator, vote.label, vote.score) for vote in store.votes()]
    assert found == [("ben", "y", None), ("ann", "y", None), ("", "y", None), ("cid", "positive", 0.75)]
    assert timedelta(0) <= datetime.now(UTC) - store.votes()[0].created_at < timedelta(minutes=5)
