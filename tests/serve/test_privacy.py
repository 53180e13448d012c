"""Erasing, exporting and the audit trail over HTTP."""

from __future__ import annotations

import json

import pytest

from core.privacy_bodies import ErasureAnswer, TrailProof
from feedback.store import Store
from tests.serve.conftest import Service, Start


async def _say(service: Service, text: str, **headers: str) -> str:
    response = await service.post("/v1/predict", {"text": text}, **headers)
    return str(response.json()["prediction_id"])


async def test_a_person_named_by_header_or_field_is_erased_and_others_stay(service: Service) -> None:
    first = await _say(service, "so positive", x_hone_subject="ada")
    named = await service.post("/v1/predict", {"text": "so negative", "subject": "ada"})
    other = await _say(service, "quite neutral", x_hone_subject="ben")
    for prediction_id in (first, named.json()["prediction_id"], other):
        said = await service.post("/v1/corrections", {"prediction_id": prediction_id, "label": "neutral"})
        assert said.status_code == 201
    told = await service.post("/v1/corrections", {"text": "by text", "label": "neutral"}, x_hone_subject="ada")
    assert told.status_code == 201
    response = await service.post("/v1/erasures", {"subject": "ada"})
    assert response.status_code == 201
    answer = ErasureAnswer.model_validate_json(response.content)
    assert (answer.counts["predictions"], answer.counts["corrections"]) == (2, 3)
    assert len(await parts_corrections(service)) == 1
    listed = (await service.http.get("/v1/erasures")).json()["erasures"]
    assert [item["erasure_id"] for item in listed] == [answer.erasure_id]
    assert (await service.http.get(f"/v1/erasures/{answer.erasure_id}")).json()["complete"] is True
    assert (await service.http.get("/v1/erasures/e_none")).status_code == 404


async def test_rows_in_bulk_are_about_whom_the_header_names_unless_they_name_another(service: Service) -> None:
    rows = [{"text": "a", "label": "neutral"}, {"text": "b", "label": "neutral", "subject": "ben"}]
    body = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    headers = {"content-type": "application/x-ndjson", "x-hone-subject": "ada"}
    assert (await service.http.post("/v1/corrections/bulk", content=body, headers=headers)).status_code == 200
    for subject in ("ada", "ben"):
        erased = ErasureAnswer.model_validate_json((await service.post("/v1/erasures", {"subject": subject})).content)
        assert erased.counts["corrections"] == 1


async def parts_corrections(service: Service) -> list[object]:
    """Return the corrections that are left."""
    return list((await service.parts.store.call(Store.corrections)).corrections)


@pytest.mark.parametrize("body", [{}, {"subject": "a", "text": "b"}, {"subject": ""}, {"whom": "a"}])
async def test_an_erasure_that_names_nobody_is_refused(service: Service, body: dict[str, str]) -> None:
    assert (await service.post("/v1/erasures", body)).status_code in (400, 422)


async def test_a_header_that_is_no_key_is_refused(service: Service) -> None:
    response = await service.post("/v1/predict", {"text": "x"}, x_hone_subject="x" * 201)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_header")


async def test_all_that_is_kept_of_a_person_is_streamed(service: Service) -> None:
    prediction_id = await _say(service, "so positive", x_hone_subject="ada")
    await service.post("/v1/corrections", {"prediction_id": prediction_id, "label": "neutral"})
    response = await service.post("/v1/subjects/export", {"subject": "ada"})
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [(line["record"], line["text"]) for line in lines] == [("prediction", "so positive"), ("correction", "so positive")]
    assert (await service.post("/v1/subjects/export", {"subject": "nobody"})).text == ""


async def test_what_operators_do_is_in_the_trail_and_no_text_or_person_is(service: Service) -> None:
    run = (await service.post("/v1/runs", {"speed": "head"})).json()
    await service.http.delete(f"/v1/runs/{run['run_id']}")
    await service.post("/v1/runs", {"speed": "warp"})
    await _say(service, "my secret", x_hone_subject="zoe")
    await service.post("/v1/erasures", {"subject": "zoe"})
    shown = await service.http.get("/v1/trail")
    assert [entry["action"] for entry in shown.json()["entries"]] == ["erase", "DELETE /v1/runs/{run_id}", "POST /v1/runs"]
    assert [entry["actor"] for entry in shown.json()["entries"]] == ["local"] * 3
    assert "my secret" not in shown.text
    # No hexadecimal digits, unlike a hash.
    assert "zoe" not in shown.text
    proof = TrailProof.model_validate_json((await service.http.get("/v1/trail/verify")).content)
    assert proof.entries == 3
    assert (await service.http.get("/v1/trail/verify", params={"known_hash": "0" * 63 + "1"})).json()["code"] == "trail_broken"


async def test_redacted_texts_alone_reach_the_store(start: Start) -> None:
    async with start(changed={"log_text": "redacted"}) as service:
        prediction_id = await _say(service, "mail ada@example.com now")
        body = {"prediction_id": prediction_id, "label": "neutral", "metadata": {"from": "ada@example.com"}}
        await service.post("/v1/corrections", body)
        await service.post("/v1/corrections", {"text": "call +44 20 7946 0958", "label": "neutral"})
        kept = await service.parts.store.call(Store.training_corrections)
        assert [correction.text for correction in kept] == ["mail [EMAIL] now", "call [PHONE]"]
        home = service.parts.settings.home
    found = b"".join(path.read_bytes() for path in home.root.rglob("*") if path.is_file())
    assert b"ada@example.com" not in found
    assert b"7946 0958" not in found
