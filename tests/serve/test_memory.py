"""The speed ``memory``: what a trusted correction says of a text is answered to it, on the next request, on every replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from core.classifier import Classifier
from core.correction_bodies import WithdrawalRequest
from core.quality_bodies import Reason
from core.registry import Registry
from core.schemas import CorrectionRequest, PredictionAnswer
from core.settings import Settings
from feedback.runs import RunEnd
from feedback.store import Store
from feedback.suspicion import Evidence
from serve.app import build_app
from serve.lifecycle import running
from serve.parts import assemble
from tests.bundles import register_ngram_bundle
from tests.serve.conftest import Service, Start
from tests.serve.fakes import until

TEXT = "rather unclear to everybody"


async def _ask(service: Service, text: str = TEXT, **options: object) -> dict[str, Any]:
    response = await service.post("/v1/predict", {"text": text, **options})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def _correct(service: Service, label: str, text: str = TEXT, **more: object) -> dict[str, Any]:
    response = await service.post("/v1/corrections", {"text": text, "label": label, **more})
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


def _other(answer: dict[str, Any]) -> str:
    """Return the label that the version gives least."""
    return str(answer["scores"][-1]["label"])


@asynccontextmanager
async def _another(settings: Settings, name: str = "replica-2") -> AsyncIterator[Service]:
    """Give another replica over the same registry and store."""
    parts = assemble(settings, None, name)
    transport = httpx.ASGITransport(build_app(parts))
    async with running(parts), httpx.AsyncClient(transport=transport, base_url="http://hone") as http:
        service = Service(parts, http)
        await until(lambda: parts.slot.current is not None)
        yield service


async def _answers(service: Service, label: str, source: str, text: str = TEXT) -> None:
    """Return when the replica answers so; the test's own timeout bounds it."""
    while True:
        answer = await _ask(service, text)
        if (answer["label"], answer["source"]) == (label, source):
            return
        await asyncio.sleep(0.01)


async def test_a_correction_answers_its_text_on_the_next_request(service: Service) -> None:
    before = await _ask(service)
    label = _other(before)
    correction = await _correct(service, label, prediction_id=None)
    after = await _ask(service)
    assert PredictionAnswer.model_validate(after).memory is not None
    assert (after["label"], after["source"], after["model_version"]) == (label, "memory", "v1")
    assert after["memory"] == {"correction_id": correction["correction_id"], "match": "exact", "similarity": 1.0}
    assert before["source"] != "memory"
    assert "memory" not in before
    assert service.value("hone_predictions_total", version="v1", source="memory") == 1.0
    assert service.value("hone_memory_texts", state="answers") == 1.0


async def test_a_correction_by_prediction_answers_every_spelling_that_counts_as_the_same_text(service: Service) -> None:
    before = await _ask(service)
    label = _other(before)
    response = await service.post("/v1/corrections", {"prediction_id": before["prediction_id"], "label": label})
    assert response.status_code == 201
    for spelling in (TEXT, TEXT.upper(), f"<p>  {TEXT.replace(' ', '   ')} </p>"):
        assert (await _ask(service, spelling))["label"] == label
    assert (await _ask(service, f"{TEXT} indeed"))["source"] == "head"


async def test_scores_of_a_recalled_answer_are_probabilities_with_its_label_in_front(service: Service) -> None:
    before = await _ask(service)
    label = _other(before)
    await _correct(service, label)
    after = await _ask(service)
    assert [after["scores"][0]["label"], after["score"]] == [label, 0.99]
    assert sum(item["score"] for item in after["scores"]) == pytest.approx(1.0, abs=1e-5)
    rest = [item["label"] for item in after["scores"][1:]]
    assert rest == [item["label"] for item in before["scores"] if item["label"] != label]
    short = await _ask(service, top_k=1, min_score=0.995, function_to_apply="none")
    assert [item["label"] for item in short["scores"]] == [label]
    assert short["abstained"]
    assert not (await _ask(service, min_score=0.9))["abstained"]


async def test_nothing_is_explained_of_what_a_person_said(service: Service) -> None:
    await _correct(service, _other(await _ask(service)))
    assert (await _ask(service, explain=True))["explanation"] is None
    assert (await _ask(service, "so positive", explain=True))["explanation"] is not None


async def test_every_wire_format_has_the_labels_of_the_memory(service: Service) -> None:
    label = _other(await _ask(service))
    await _correct(service, label)
    face = await service.post("/hf", {"inputs": TEXT})
    assert face.json()[0][0]["label"] == label
    assert face.headers["x-model-source"] == "memory"
    mixed = await service.post("/hf", {"inputs": [TEXT, "so positive"]})
    assert mixed.headers["x-model-source"] == "memory,head"
    assert (await service.post("/predict", {"inputs": TEXT})).json()[0]["label"] == label
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}
    outputs = [{"name": "label"}, {"name": "scores"}]
    reply = (await service.post("/v2/models/hone/infer", {"inputs": [tensor], "outputs": outputs})).json()
    assert reply["model_version"] == "v1"
    assert reply["outputs"][0]["data"] == [label]
    assert max(reply["outputs"][1]["data"]) == pytest.approx(0.99)


async def test_another_replica_knows_a_correction_within_its_poll(service: Service, settings: Settings) -> None:
    async with _another(settings) as other:
        label = _other(await _ask(other))
        await _correct(service, label)
        await _answers(other, label, "memory")


async def test_a_replica_that_joins_late_knows_what_was_said_before(service: Service, settings: Settings) -> None:
    label = _other(await _ask(service))
    await _correct(service, label)
    async with _another(settings) as late:
        await _answers(late, label, "memory")


async def test_while_the_store_is_away_the_memory_keeps_what_it_has(service: Service, settings: Settings) -> None:
    label = _other(await _ask(service))
    await _correct(service, label)
    store = settings.home.store
    away = store.with_name("away.db")
    service.parts.memory.close()
    store.rename(away)
    store.mkdir()
    try:
        for _ in range(3):
            service.parts.memory.nudge()
            await asyncio.sleep(0)
            assert (await _ask(service))["source"] == "memory"
    finally:
        store.rmdir()
        away.rename(store)


async def test_what_is_taken_back_or_changed_is_answered_no_longer(service: Service) -> None:
    before = await _ask(service)
    first, second = _other(before), str(before["scores"][1]["label"])
    correction = await _correct(service, first)
    changed = await service.post(f"/v1/corrections/{correction['correction_id']}/change", {"label": second})
    assert (await _ask(service))["label"] == second
    await service.post(f"/v1/corrections/{changed.json()['correction_id']}/withdraw", {})
    assert (await _ask(service))["source"] == "head"


async def test_erasing_a_text_or_a_person_reaches_every_memory(service: Service, settings: Settings) -> None:
    label = _other(await _ask(service))
    await _correct(service, label)
    await _correct(service, label, "what ada wrote", subject="ada")
    async with _another(settings) as other:
        await _answers(other, label, "memory")
        await _answers(other, label, "memory", "what ada wrote")
        assert (await service.post("/v1/erasures", {"text": TEXT})).status_code == 201
        assert (await _ask(service))["source"] == "head"
        assert (await service.post("/v1/erasures", {"subject": "ada"})).status_code == 201
        assert (await _ask(service, "what ada wrote"))["source"] == "head"
        await until(lambda: not other.parts.memory.fill.answers)
        assert (await _ask(other))["source"] == "head"


async def _screen(service: Service, held: Sequence[int]) -> None:
    """Have the learner's screening hold back these corrections, by sequence number."""
    votes = await service.parts.store.call(Store.votes)
    reason = Reason(rule="unreliable_annotator", value=0.4, limit=0.5, why="a fixture")
    said = {vote.sequence: Evidence("v1", "positive", 0.5) for vote in votes}
    seen = [vote.sequence for vote in votes]
    await service.parts.store.call(Store.keep_suspicions, dict.fromkeys(held, (reason,)), said, seen)


async def test_what_the_screening_holds_back_leaves_and_what_a_person_releases_returns(service: Service) -> None:
    label = _other(await _ask(service))
    correction = await _correct(service, label, annotator="mallory")
    await _screen(service, held=[1])
    await until(lambda: not service.parts.memory.fill.answers)
    assert (await _ask(service))["source"] == "head"
    released = await service.post(f"/v1/quarantine/{correction['correction_id']}", {"decision": "release"})
    assert released.status_code == 200
    assert (await _ask(service))["label"] == label


async def test_who_contradicts_a_sure_model_waits_for_the_screening_or_for_a_second_person(start: Start) -> None:
    async with start(changed={"suspect_model_score": 0.6}) as service:
        text = "positive positive positive"
        sure = await _ask(service, text)
        assert sure["score"] > 0.6
        await _correct(service, "negative", text, annotator="ada")
        assert (await _ask(service, text))["source"] == "head"
        # A prediction's own score is evidence as well.
        by_id = {"prediction_id": sure["prediction_id"], "label": "negative", "annotator": "ada"}
        assert (await service.post("/v1/corrections", by_id)).status_code == 201
        assert (await _ask(service, text))["source"] == "head"
        await _correct(service, "negative", text, annotator="bob")
        assert (await _ask(service, text))["label"] == "negative"


async def test_where_people_differ_nothing_is_answered(service: Service) -> None:
    before = await _ask(service)
    await _correct(service, _other(before), annotator="ada")
    await _correct(service, str(before["scores"][1]["label"]), annotator="bob")
    assert (await _ask(service))["source"] == "head"
    await _correct(service, _other(before), annotator="bob")
    assert (await _ask(service))["label"] == _other(before)


async def test_a_burst_is_forgotten_as_a_whole(start: Start) -> None:
    async with start(changed={"suspect_burst_corrections": 3}) as service:
        label = _other(await _ask(service))
        for number in range(3):
            await _correct(service, label, f"{TEXT} {number}", annotator="mallory")
        assert (await _ask(service, f"{TEXT} 0"))["source"] == "memory"
        await _correct(service, label, f"{TEXT} 3", annotator="mallory")
        for number in range(4):
            assert (await _ask(service, f"{TEXT} {number}"))["source"] == "head"


async def test_who_was_held_back_lately_teaches_nothing_at_once(service: Service) -> None:
    label = _other(await _ask(service))
    for number in range(3):
        await _correct(service, label, f"{TEXT} {number}", annotator="mallory")
    await _screen(service, held=[1, 2, 3])
    await _correct(service, label, f"{TEXT} 3", annotator="mallory")
    assert (await _ask(service, f"{TEXT} 3"))["source"] == "head"
    await _screen(service, held=[1, 2, 3])
    await _answers(service, label, "memory", f"{TEXT} 3")


async def test_screened_trust_waits_for_the_learner(start: Start) -> None:
    async with start(changed={"memory_trust": "screened"}) as service:
        label = _other(await _ask(service))
        await _correct(service, label)
        assert (await _ask(service))["source"] == "head"
        await _screen(service, held=[])
        await _answers(service, label, "memory")


async def test_labels_that_are_renamed_merged_or_retired_change_what_is_recalled(service: Service) -> None:
    label = _other(await _ask(service))
    others = [name for name in ("negative", "neutral", "positive") if name != label]
    await _correct(service, label)

    async def decide(action: str, name: str, into: str | None = None) -> None:
        body = {"action": action, "label": name, "by": "ops", "why": "a test", **({"into": into} if into else {})}
        response = await service.post("/v1/labels/events", body)
        assert response.status_code == 201, response.text

    await decide("rename", label, "another name")
    renamed = await _ask(service)
    assert (renamed["label"], renamed["source"], len(renamed["scores"])) == ("another name", "memory", 3)
    await decide("merge", "another name", others[0])
    assert (await _ask(service))["label"] == others[0]
    await decide("accept", "third")
    await decide("retire", others[0])
    assert (await _ask(service))["source"] == "head"


async def test_a_label_that_the_version_does_not_know_yet_is_answered_once_it_is_in_the_set(service: Service) -> None:
    response = await service.post("/v1/corrections?new_labels=propose", {"text": TEXT, "label": "brand new"})
    assert response.status_code == 201
    assert (await _ask(service))["source"] == "head"
    accepted = {"action": "accept", "label": "brand new", "by": "ops", "why": "a test"}
    assert (await service.post("/v1/labels/events", accepted)).status_code == 201
    answer = await _ask(service)
    assert (answer["label"], answer["score"], len(answer["scores"])) == ("brand new", 0.99, 4)
    assert sum(item["score"] for item in answer["scores"]) == pytest.approx(1.0, abs=1e-5)
    logits = await _ask(service, function_to_apply="none")
    assert logits["label"] == "brand new"


def _of_another_opinion(registry: Registry, label: str) -> tuple[str, str]:
    """Register a version that does not say ``label`` of the text, and return it and what it says."""
    for seed in range(1, 50):
        version = register_ngram_bundle(registry, seed=seed)
        classifier = Classifier.load(registry.path(version))
        says = classifier.labels.names[int(classifier.predict([TEXT])[0].argmax())]
        if says != label:
            return version, says
    raise AssertionError("no seed of fifty has another opinion")


async def _learn(service: Service, version: str, sequences: Sequence[int]) -> None:
    """Have a run end that registered ``version`` and was trained on these corrections."""
    store = service.parts.store
    await store.call(Store.create_run, "head")
    run = await store.call(Store.claim_run, "a learner")
    assert run is not None
    await store.call(Store.finish_run, run.run_id, RunEnd("succeeded", version=version, promoted=True, learned_from=sequences))


async def test_what_a_version_has_learned_it_answers_itself_until_it_is_rolled_back(service: Service) -> None:
    registry = service.parts.registry
    learned, says = _of_another_opinion(registry, str((await _ask(service))["label"]))
    await _correct(service, says)
    registry.promote(learned, by="test", why="a fixture")
    await service.serves(learned)
    # It says so, but nobody knows that it has learned to.
    assert ((await _ask(service))["label"], (await _ask(service))["source"]) == (says, "memory")
    await _learn(service, learned, [1])
    await _answers(service, says, "head")
    fill = service.parts.memory.fill
    assert (fill.answers, fill.learned) == (0, 1)
    registry.rollback(by="test", why="a fixture")
    await service.serves("v1")
    await _answers(service, says, "memory")
    assert service.parts.memory.fill.answers == 1


async def test_a_version_that_was_taught_and_says_otherwise_is_still_corrected(service: Service) -> None:
    label = _other(await _ask(service))
    await _correct(service, label)
    await _learn(service, "v1", [1])
    await until(lambda: service.parts.memory.fill.learned == 1)
    assert ((await _ask(service))["label"], (await _ask(service))["source"]) == (label, "memory")


async def test_the_oldest_leave_when_the_memory_is_full(start: Start) -> None:
    async with start(changed={"memory_entries": 2}) as service:
        label = _other(await _ask(service))
        for number in range(3):
            await _correct(service, label, f"{TEXT} {number}")
        sources = [(await _ask(service, f"{TEXT} {number}"))["source"] for number in range(3)]
        assert sources == ["head", "memory", "memory"]
        assert service.value("hone_memory_evicted_total") == 1.0


async def test_without_a_memory_nothing_is_recalled_and_nobody_is_alarmed(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with start(changed={"memory_entries": 0}) as service:
        await _correct(service, _other(await _ask(service)))
        assert (await _ask(service))["source"] == "head"
    assert "a background task has ended" not in caplog.text


async def test_fifty_corrections_at_once_are_all_recalled(service: Service) -> None:
    label = _other(await _ask(service))
    await asyncio.gather(*(_correct(service, label, f"{TEXT} {number}") for number in range(50)))
    answers = await asyncio.gather(*(_ask(service, f"{TEXT} {number}") for number in range(50)))
    assert {(answer["label"], answer["source"]) for answer in answers} == {(label, "memory")}


async def test_a_memory_answer_counts_by_what_the_version_had_said(service: Service) -> None:
    before = await _ask(service)
    label = _other(before)
    await _correct(service, label)
    recalled = await _ask(service)
    confirmed = await service.post("/v1/confirmations", {"prediction_id": recalled["prediction_id"], "annotator": "bob"})
    assert (confirmed.status_code, confirmed.json()["kind"], confirmed.json()["predicted_label"]) == (
        201,
        "confirmation",
        label,
    )
    outcomes = await service.parts.store.call(Store.label_outcomes)
    assert (outcomes["v1"].right, outcomes["v1"].wrong) == (0, 1)
    record = await service.parts.store.call(Store.prediction, recalled["prediction_id"])
    assert (record.source, record.label, record.model_label) == ("memory", label, before["label"])
    assert record.model_score == pytest.approx(before["score"], abs=1e-5)
    # Who confirms what the memory said still corrects the version.
    assert (await _ask(service))["source"] == "memory"
    votes = await service.parts.store.call(Store.votes)
    assert [(vote.predicted_label, vote.corrects) for vote in votes][-1] == (before["label"], True)
    await service.parts.store.call(Store.draw_audit, 1.0, None)


async def test_corrections_written_past_the_service_are_noticed(service: Service) -> None:
    label = _other(await _ask(service))
    kept = await service.parts.store.call(Store.add_correction, CorrectionRequest(text=TEXT, label=label))
    await _answers(service, label, "memory")
    await service.parts.store.call(Store.withdraw_correction, kept.correction_id, WithdrawalRequest())
    await until(lambda: not service.parts.memory.fill.answers)
