"""Quarantine, annotators, live accuracy and review over HTTP."""

from __future__ import annotations

from core.quality_bodies import Reason
from core.schemas import CorrectionRequest
from feedback.store import Store
from feedback.suspicion import Evidence
from tests.bundles import register_ngram_bundle
from tests.serve.conftest import Service, Start


async def _quarantine(service: Service, text: str, annotator: str | None = "eve") -> str:
    """Keep a correction, hold it back, and return its id."""

    def work(store: Store) -> str:
        answer = store.add_correction(CorrectionRequest(text=text, label="negative", annotator=annotator))
        reason = Reason(rule="burst", value=9.0, limit=5.0, why="so many")
        sequence = store.last_sequence()
        store.keep_suspicions({sequence: (reason,)}, {sequence: Evidence("v1", "positive", 0.99)}, [sequence])
        store.ask_about_suspects()
        return answer.correction_id

    return await service.parts.store.call(work)


async def _audit(service: Service, count: int) -> None:
    for _ in range(count):
        await service.post("/v1/predict", {"text": "so positive"})
    assert service.parts.log is not None
    assert service.parts.log.flush(10)
    await service.parts.store.call(Store.draw_audit, 1.0, None)


async def test_what_is_held_back_is_listed_with_its_reasons_and_released(service: Service) -> None:
    correction_id = await _quarantine(service, "hm")
    page = (await service.http.get("/v1/quarantine")).json()
    assert page["total"] == 1
    assert page["suspicions"][0]["reasons"] == [{"rule": "burst", "value": 9.0, "limit": 5.0, "why": "so many"}]
    assert page["suspicions"][0]["correction"]["correction_id"] == correction_id
    body = {"decision": "release", "by": "ada", "why": "checked"}
    released = await service.post(f"/v1/quarantine/{correction_id}", body)
    assert (released.status_code, released.json()["state"], released.json()["decided_by"]) == (200, "released", "ada")
    assert (await service.http.get("/v1/quarantine")).json()["total"] == 0
    assert (await service.http.get("/v1/quarantine?state=released")).json()["total"] == 1
    assert (await service.post("/v1/quarantine/c_nowhere", body)).status_code == 404


async def test_one_decision_settles_all_of_an_annotator(service: Service) -> None:
    for number in range(3):
        await _quarantine(service, f"text {number}", None)
    await _quarantine(service, "another")
    answer = await service.post("/v1/quarantine", {"annotator": None, "decision": "uphold"})
    assert answer.json() == {"corrections": 3}
    assert (await service.http.get("/v1/quarantine")).json()["total"] == 1
    bad = await service.post("/v1/quarantine", {"annotator": "eve", "decision": "maybe"})
    assert (bad.status_code, bad.json()["code"]) == (400, "malformed_body")


async def test_annotators_are_listed_with_their_agreement(service: Service) -> None:
    for number in range(12):
        for who, label in (("ann", "positive"), ("ben", "positive"), ("eve", "negative")):
            label = label if number % 2 else {"positive": "negative", "negative": "positive"}[label]
            await service.post("/v1/corrections", {"text": f"text {number}", "label": label, "annotator": who})
    answer = (await service.http.get("/v1/annotators")).json()
    assert [item["annotator"] for item in answer["annotators"]] == ["ann", "ben", "eve"]
    assert answer["annotators"][-1]["accuracy"] < 0.3
    assert answer["annotators"][-1]["alpha"] < 0
    assert answer["shared_texts"] == 12
    assert set(answer["alpha_by_label"]) == {"negative", "positive"}


async def test_reviewing_labels_skips_undoes_and_measures(service: Service) -> None:
    await _audit(service, 3)
    items = (await service.http.get("/v1/review?annotator=ann&limit=2")).json()["items"]
    assert [(item["stratum"], item["predicted_label"], item["text"]) for item in items] == [("audit", None, "so positive")] * 2
    first, second = (item["item_id"] for item in items)
    done = await service.post(f"/v1/review/{first}", {"label": "negative", "annotator": "ann"})
    assert (done.status_code, done.json()["state"], done.json()["correction"]["kind"]) == (200, "done", "correction")
    again = await service.post(f"/v1/review/{first}", {"label": "negative", "annotator": "ann"})
    assert again.json() == done.json()
    taken = await service.post(f"/v1/review/{second}", {"label": "positive", "annotator": "ben"})
    assert taken.status_code == 409
    assert (await service.post(f"/v1/review/{second}", {"action": "skip", "annotator": "ann"})).json()["state"] == "open"
    assert (await service.post(f"/v1/review/{second}", {"label": "positive", "annotator": "ben"})).status_code == 200
    measured = (await service.http.get("/v1/accuracy")).json()["versions"]
    assert [(item["version"], item["accuracy"], item["judged"], item["waiting"]) for item in measured] == [("v1", 0.5, 2, 1)]
    undone = await service.post(f"/v1/review/{first}", {"action": "undo", "annotator": "ann"})
    assert (undone.json()["state"], undone.json()["correction"]) == ("open", None)
    listed = (await service.http.get("/v1/corrections")).json()["corrections"]
    assert {item["annotator"]: item["withdrawn"] for item in listed} == {"ann": True, "ben": False}
    anew = await service.post(f"/v1/review/{first}", {"label": "positive", "annotator": "ann"})
    assert anew.json()["correction"]["kind"] == "confirmation"
    assert (await service.http.get("/v1/accuracy")).json()["versions"][0]["accuracy"] == 1.0


async def test_a_suspect_is_shown_with_its_text_and_answered(service: Service) -> None:
    await _quarantine(service, "quite doubtful")
    (item,) = (await service.http.get("/v1/review?annotator=ann")).json()["items"]
    assert (item["stratum"], item["text"]) == ("suspect", "quite doubtful")
    done = await service.post(f"/v1/review/{item['item_id']}", {"label": "positive", "annotator": "ann", "confidence": 0.9})
    assert done.json()["correction"]["confidence"] == 0.9


async def test_bad_answers_are_refused(service: Service) -> None:
    await _audit(service, 1)
    (item,) = (await service.http.get("/v1/review?annotator=ann")).json()["items"]
    path = f"/v1/review/{item['item_id']}"
    assert (await service.post(path, {"annotator": "ann"})).status_code == 400
    assert (await service.post(path, {"action": "skip", "label": "x", "annotator": "ann"})).status_code == 400
    assert (await service.post(path, {"label": "positive", "annotator": "a\0"})).status_code == 400
    assert (await service.post(path, {"label": "nowhere", "annotator": "ann"})).json()["code"] == "unknown_label"
    assert (await service.post("/v1/review/i_nowhere", {"label": "positive", "annotator": "ann"})).status_code == 404
    assert (await service.http.get("/v1/review")).status_code == 400
    assert (await service.http.get("/v1/review?annotator=%00")).status_code == 400
    assert (await service.http.get("/v1/accuracy")).json()["versions"][0]["judged"] == 0


async def test_accuracy_is_told_by_audit_by_label_and_by_corrections_side_by_side(service: Service) -> None:
    await _audit(service, 4)
    items = (await service.http.get("/v1/review?annotator=ann&limit=4")).json()["items"]
    for item, label in zip(items, ("positive", "positive", "positive", "negative"), strict=True):
        await service.post(f"/v1/review/{item['item_id']}", {"label": label, "annotator": "ann"})
    (found,) = (await service.http.get("/v1/accuracy")).json()["versions"]
    assert (found["version"], found["accuracy"], found["judged"]) == ("v1", 0.75, 4)
    assert [(one["label"], one["accuracy"], one["judged"]) for one in found["classes"]] == [
        ("positive", 1.0, 3),
        ("negative", 0.0, 1),
    ]
    assert found["naive"] == {"right": 3, "wrong": 1, "accuracy": 0.75}
    assert (found["estimated"], found["gap"]) == (None, None)


async def test_a_label_that_comes_late_counts_to_the_version_that_had_answered(start: Start) -> None:
    async with start(versions=1) as service:
        await _audit(service, 1)
        (item,) = (await service.http.get("/v1/review?annotator=ann")).json()["items"]
        newer = register_ngram_bundle(service.parts.registry, seed=9)
        service.parts.registry.promote(newer, by="test", why="a fixture")
        await service.serves(newer)
        await service.post(f"/v1/review/{item['item_id']}", {"label": "positive", "annotator": "ann"})
        (found,) = (await service.http.get("/v1/accuracy")).json()["versions"]
        assert (found["version"], found["judged"], found["naive"]["right"]) == ("v1", 1, 1)
