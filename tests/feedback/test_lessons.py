"""What memories read of the store, over both databases: everything at first, then what has changed."""

from __future__ import annotations

import dataclasses

from core.correction_bodies import WithdrawalRequest
from core.label_bodies import LabelEventRequest
from core.quality_bodies import Reason, SuspicionDecision
from core.schemas import CorrectionRequest
from core.text import text_key
from feedback.erasures import Target
from feedback.lessons import LessonMark, LessonNews
from feedback.runs import RunEnd
from feedback.store import Store
from feedback.suspicion import Limits
from tests.feedback.records import prediction

LIMITS = Limits(0.98, 0.5, 0.5, 0.6, burst_corrections=3, burst_window_s=60.0, resemblance=0.85)
_REASON = Reason(rule="disputed", value=0.4, limit=0.6, why="a test")


def _say(store: Store, text: str, label: str = "a", annotator: str | None = None) -> str:
    return store.add_correction(CorrectionRequest(text=text, label=label, annotator=annotator)).correction_id


def _news(store: Store, mark: LessonMark | None, most: int = 100) -> LessonNews:
    news = store.lesson_news(mark, LIMITS, most)
    assert news is not None
    return news


def _texts(news: LessonNews) -> set[str]:
    return {vote.text for votes in news.votes.values() for vote in votes}


def test_a_reader_gets_everything_once_and_then_what_is_new(store: Store) -> None:
    assert _news(store, None).votes == {}
    _say(store, "one")
    first = _news(store, None)
    assert (first.whole, _texts(first)) == (True, {"one"})
    assert store.lesson_news(first.mark, LIMITS, 100) is None
    _say(store, "two")
    second = _news(store, first.mark)
    assert (second.whole, _texts(second)) == (False, {"two"})
    ahead = dataclasses.replace(second.mark, corrections=99)
    assert _news(store, ahead).whole


def test_only_the_newest_texts_are_read_and_confirmations_teach_nothing(store: Store) -> None:
    store.log_predictions([prediction(1, label="a")])
    store.add_correction(CorrectionRequest(prediction_id="p1", label="a"))
    for number in range(4):
        _say(store, f"text {number} of four", annotator=f"ann {number}")
    assert _texts(_news(store, None, most=2)) == {"text 2 of four", "text 3 of four"}
    assert _texts(_news(store, None)) == {f"text {number} of four" for number in range(4)}


def test_what_is_withdrawn_screened_decided_or_erased_is_read_again(store: Store) -> None:
    kept = [_say(store, text) for text in ("one", "two")]
    mark = _news(store, None).mark
    store.withdraw_correction(kept[0], WithdrawalRequest())
    gone = _news(store, mark)
    assert gone.votes == {text_key("one"): []}

    store.keep_suspicions({2: (_REASON,)}, {}, [2])
    held = _news(store, gone.mark)
    assert (_texts(held), held.looked.held, held.looked.screened_up_to) == ({"two"}, {2}, 2)
    store.keep_suspicions({2: (_REASON,)}, {}, [2])
    assert store.lesson_news(held.mark, LIMITS, 100) is None
    store.decide_suspicion(kept[1], SuspicionDecision(decision="release"))
    released = _news(store, held.mark)
    assert (released.looked.held, released.looked.released) == (frozenset(), {2})

    store.erase(Target(text_keys=(text_key("two"),)), "a test")
    erased = _news(store, released.mark)
    assert (erased.whole, erased.votes) == (True, {})


def test_a_decision_about_labels_has_everything_read_again(store: Store) -> None:
    _say(store, "one")
    mark = _news(store, None).mark
    store.decide_label(LabelEventRequest(action="rename", label="a", into="z", by="ops", why="a test"), ["a", "b"])
    news = _news(store, mark)
    (votes,) = news.votes.values()
    assert (news.whole, votes[0].label) == (True, "z")


def test_a_burst_brings_back_what_came_before_it_was_one(store: Store) -> None:
    for number in range(3):
        _say(store, f"text {number}", annotator="mallory")
    quiet = _news(store, None)
    assert not quiet.looked.in_burst
    _say(store, "text 3", annotator="mallory")
    loud = _news(store, quiet.mark)
    assert _texts(loud) == {f"text {number}" for number in range(4)}
    assert loud.looked.in_burst == {1, 2, 3, 4}


def test_who_was_mostly_held_back_lately_is_doubted(store: Store) -> None:
    for who in ("mallory", "ada", None):
        for number in range(3):
            _say(store, f"{who} {number}", annotator=who)
    store.keep_suspicions(dict.fromkeys((1, 2, 4), (_REASON,)), {}, list(range(1, 10)))
    mark = _news(store, None).mark
    for who in ("mallory", "ada", None):
        _say(store, f"{who} again", annotator=who)
    assert _news(store, mark).looked.doubted == {"mallory"}


def test_what_a_version_learned_from_is_known_once_its_run_has_ended(store: Store) -> None:
    _say(store, "one")
    mark = _news(store, None).mark
    store.create_run("head")
    run = store.claim_run("a learner")
    assert run is not None
    store.finish_run(run.run_id, RunEnd("succeeded", version="v2", promoted=True, learned_from=[1]))
    assert _news(store, mark).votes == {}
    assert store.learned_by("v2") == {1}
    assert store.learned_by("v1") == frozenset()
