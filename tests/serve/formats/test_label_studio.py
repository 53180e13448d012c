"""Label Studio's ML backend, asked with the bodies that Label Studio sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import HoneError, MalformedBody
from core.keys import KeyRing
from core.labels import LabelSet
from core.settings import Settings
from serve.formats.label_studio import Labelling, WebhookRequest, correction_of
from tests.serve.formats.conftest import Listen, Listening

CONFIG = """
<View>
  <Text name="text" value="$review"/>
  <Choices name="sentiment" toName="text" choice="single-radio">
    <Choice value="Positive"/><Choice value="Negative" alias="bad"/><Choice value="neutral"/>
  </Choices>
</View>
"""
LABELS = LabelSet(("negative", "neutral", "positive"))
PROJECT = {"id": 17, "title": "Reviews", "label_config": CONFIG, "created_by": {"id": 1, "email": "ada@example.com"}}


@pytest.fixture
def own(listen: Listen) -> Iterator[Listening]:
    """Give a replica with a store of this test's own."""
    with listen() as found:
        yield found


def _predict(replica: Listening, *texts: str, config: str = CONFIG) -> httpx.Response:
    body = {
        "tasks": [{"id": number, "data": {"review": text}} for number, text in enumerate(texts)],
        "model_version": "v1",
        "project": "17.1700000000",
        "label_config": config,
        "params": {"login": None, "password": None, "context": None},
    }
    return replica.http.post("/label-studio/predict", json=body)


def _event(
    choice: str | None, *, action: str = "ANNOTATION_CREATED", region: str = "Dx_aB91ISN", **changes: Any
) -> dict[str, Any]:
    value = {"choices": [choice]}
    result = {"id": region, "from_name": "sentiment", "to_name": "text", "type": "choices", "value": value, "origin": "manual"}
    annotation = {
        "id": 1001,
        "result": [] if choice is None else [result],
        "was_cancelled": False,
        "completed_by": 4,
        "created_at": "2026-03-09T22:16:08.728353Z",
        "updated_at": "2026-03-09T22:16:08.728378Z",
        "lead_time": 4.288,
        "task": 1,
    }
    task = {"id": 1, "data": {"review": "quite good"}, "project": 17, "annotations": []}
    return {"action": action, "annotation": {**annotation, **changes}, "task": task, "project": PROJECT}


def _tell(replica: Listening, event: dict[str, Any], query: str = "") -> httpx.Response:
    return replica.http.post(f"/label-studio/webhook{query}", json=event)


def test_health_and_setup(replica: Listening) -> None:
    assert replica.http.get("/label-studio/health").json() == {"status": "UP", "model_class": "Hone"}
    body = {"project": "17.1700000000", "schema": CONFIG, "hostname": "http://x", "access_token": "t", "extra_params": None}
    answer = replica.http.post("/label-studio/setup", json=body)
    assert (answer.status_code, answer.json()) == (200, {"model_version": "v1"})


def test_setup_refuses_a_project_with_nothing_in_common(replica: Listening) -> None:
    config = CONFIG.replace("Positive", "Spam").replace("Negative", "Ham").replace("neutral", "Else").replace("bad", "ham")
    answer = replica.http.post("/label-studio/setup", json={"project": "1.1", "schema": config})
    assert answer.status_code == 422
    assert "none of the 3 choices is a label" in answer.json()["error"]


def test_tasks_are_answered_in_the_words_of_the_project(replica: Listening) -> None:
    results = _predict(replica, "so positive", "negative", "neutral").json()["results"]
    assert [item["result"][0]["value"]["choices"] for item in results] == [["Positive"], ["bad"], ["neutral"]]
    region = results[0]["result"][0]
    assert (region["from_name"], region["to_name"], region["type"]) == ("sentiment", "text", "choices")
    assert results[0]["model_version"] == "v1"
    assert 0.5 < results[0]["score"] <= 1.0


def test_a_label_without_a_choice_is_not_shown(replica: Listening) -> None:
    results = _predict(replica, "neutral", config=CONFIG.replace("neutral", "other")).json()["results"]
    assert results[0]["result"] == []


def test_no_tasks_are_no_results(replica: Listening) -> None:
    assert _predict(replica).json() == {"results": []}


def test_an_annotation_is_a_correction_that_counts_once(own: Listening) -> None:
    answers = [_tell(own, _event("bad")) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["result"]["correction_id"] for answer in answers}) == 1
    (kept,) = own.store.corrections().corrections
    assert (kept.label, kept.annotator, kept.kind) == ("negative", "label-studio:4", "correction")
    assert own.store.training_corrections()[0].text == "quite good"
    assert own.value("hone_corrections_total", kind="correction") == 1.0


def test_a_changed_annotation_is_the_last_word(own: Listening) -> None:
    _tell(own, _event("Positive"))
    _tell(own, _event("bad", action="ANNOTATION_UPDATED", updated_at="2026-03-10T00:00:00Z"))
    _tell(own, _event("Positive", action="ANNOTATION_UPDATED", updated_at="2026-03-11T00:00:00Z"))
    assert len(own.store.corrections().corrections) == 3
    assert [item.label for item in own.store.training_corrections()] == ["positive"]


@pytest.mark.parametrize("action", ["ANNOTATION_DELETED", "ANNOTATIONS_DELETED"])
def test_what_was_said_with_a_deleted_annotation_is_withdrawn(own: Listening, action: str) -> None:
    said = _tell(own, _event("Positive")).json()["result"]["correction_id"]
    changed = _tell(own, _event("bad", action="ANNOTATION_UPDATED", updated_at="later")).json()["result"]["correction_id"]
    other = _tell(own, _event("Positive", id=10)).json()["result"]["correction_id"]
    gone = {"annotations": [{"id": 1001}]} if action == "ANNOTATIONS_DELETED" else {"annotation": {"id": 1001}}
    for _ in range(2):
        answer = _tell(own, {"action": action, "project": PROJECT, **gone})
        assert (answer.status_code, sorted(answer.json()["result"]["withdrawn"])) == (201, sorted([said, changed]))
    listed = {item.correction_id: item.withdrawn for item in own.store.corrections().corrections}
    assert listed == {said: True, changed: True, other: False}
    assert [item.label for item in own.store.training_corrections()] == ["positive"]


def test_an_annotation_made_from_a_pre_annotation_names_its_prediction(own: Listening) -> None:
    region = _predict(own, "so positive").json()["results"][0]["result"][0]
    assert _tell(own, _event("Positive", region=region["id"])).json()["result"]["kind"] == "confirmation"
    assert _tell(own, _event("bad", region=region["id"])).json()["result"]["kind"] == "correction"
    newest = own.store.corrections().corrections[0]
    assert (newest.prediction_id, newest.predicted_label, newest.model_version) == (region["id"], "positive", "v1")


def test_a_prediction_that_is_not_kept_any_more_leaves_the_text(own: Listening) -> None:
    assert _tell(own, _event("bad", region=f"p_{'0' * 32}")).status_code == 201
    (kept,) = own.store.corrections().corrections
    assert kept.prediction_id is None
    assert own.store.training_corrections()[0].text == "quite good"


@pytest.mark.parametrize("event", [_event(None), _event("bad", was_cancelled=True)], ids=["empty", "skipped"])
def test_what_says_nothing_is_not_kept(own: Listening, event: dict[str, Any]) -> None:
    answer = _tell(own, event)
    assert (answer.status_code, answer.json()["result"]) == (201, {"correction_id": None})
    assert own.store.corrections().corrections == []


def test_an_annotation_that_was_emptied_takes_back_what_it_said(own: Listening) -> None:
    said = _tell(own, _event("bad")).json()["result"]["correction_id"]
    emptied = _tell(own, _event(None, action="ANNOTATION_UPDATED", updated_at="later"))
    assert emptied.json()["result"] == {"correction_id": None, "withdrawn": [said]}
    assert own.store.training_corrections() == []


def test_training_is_queued_and_not_done_in_the_request(own: Listening) -> None:
    answers = [_tell(own, {"action": "START_TRAINING", "project": PROJECT}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    (run,) = own.store.runs().runs
    assert {answer.json()["result"]["run_id"] for answer in answers} == {run.run_id}
    assert (run.state, run.speed) == ("queued", own.parts.settings.learn_speed)


def test_an_event_that_means_nothing_here_is_acknowledged(own: Listening) -> None:
    answer = _tell(own, {"action": "TASKS_CREATED", "tasks": [{"id": 1}], "project": PROJECT})
    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")


def test_a_choice_that_is_no_label_is_refused(own: Listening) -> None:
    event = _event("Mixed")
    answer = _tell(own, event)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_label")
    assert _tell(own, event, "?new_labels=propose").status_code == 201
    assert own.store.label_book().proposed == {"Mixed"}


def test_a_key_is_sent_as_password(settings: Settings, listen: Listen) -> None:
    settings.home.prepare()
    _, secret = KeyRing(settings.home.keys).create("label-studio", "annotate")
    with listen(auth="on") as replica:
        assert _predict(replica, "a").status_code == 401
        replica.http.auth = ("anything", secret)
        assert _predict(replica, "a").status_code == 200


BAD_CONFIGS = {
    "no XML": "<View>",
    "nothing": "",
    "no text": '<View><Choices name="a" toName="b"/></View>',
    "two": CONFIG.replace("</View>", '<Choices name="other" toName="text"/></View>'),
    "entities": '<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>',
    "too long": "<View>" + " " * 200_000,
}


@pytest.mark.parametrize("config", BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_a_configuration_that_does_not_fit_is_refused(config: str) -> None:
    with pytest.raises(MalformedBody):
        Labelling.read(config)


def test_a_task_without_its_text_is_refused(replica: Listening) -> None:
    answer = _predict(replica, "a", config=CONFIG.replace("$review", "$body"))
    assert answer.status_code == 422
    assert "tasks[0] has no text" in answer.json()["error"]


@given(st.text(max_size=80))
def test_any_text_as_a_configuration_is_read_or_refused(config: str) -> None:
    try:
        Labelling.read(config)
    except MalformedBody:
        return
    pytest.fail("no text of 80 characters is a whole configuration")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["choices", "id", "from_name"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON, JSON, JSON)
def test_any_annotation_is_understood_or_refused(value: Any, region: Any, who: Any) -> None:
    result = [{"from_name": "sentiment", "id": region, "value": value}]
    event = WebhookRequest.model_validate({**_event("bad"), "annotation": {"id": 1, "result": result, "completed_by": who}})
    try:
        correction_of(event, LABELS)
    except HoneError:
        return
