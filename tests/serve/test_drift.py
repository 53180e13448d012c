"""Drift over HTTP: state, why, taking note; texts only for those who may read texts."""

from __future__ import annotations

from datetime import timedelta

from typer.testing import CliRunner

from core.drift_bodies import DriftFinding
from core.schemas import PredictionRecord, now
from core.text import text_key
from feedback.drift_windows import LATE, Found
from feedback.store import Store
from tests.serve.conftest import Service


async def _drift(service: Service) -> tuple[str, str]:
    """Keep a window with drift, and return its id and its alarm's."""

    def work(store: Store) -> tuple[str, str]:
        start = now() - LATE - timedelta(hours=1)
        store.log_predictions(
            [
                PredictionRecord(
                    prediction_id=f"p_{place}",
                    created_at=start + timedelta(seconds=place),
                    text=f"text {place}",
                    text_key=text_key(f"text {place}"),
                    label="positive",
                    score=0.8,
                    model_version="v1",
                    source="head",
                )
                for place in range(40)
            ]
        )
        window = store.next_window("v1", 40)
        assert window is not None
        finding = DriftFinding(detector="label_psi", watches="outputs", verdict="drift", size=0.4, p_value=1e-4, limit=1e-3)
        alarm = store.add_drift_window(Found("v1", window, 40, "drift", "label_psi 0.4", (finding,), None, {}))
        assert alarm is not None
        return alarm.window_id, alarm.alarm_id

    return await service.parts.store.call(work)


async def test_before_any_window_nothing_is_known_and_it_says_so(service: Service) -> None:
    body = (await service.http.get("/v1/drift")).json()
    assert (body["state"], body["windows"], body["alarms"]) == ("unknown", [], [])
    assert "not complete" in body["why"]


async def test_a_window_is_told_with_every_detector_and_its_alarm(service: Service) -> None:
    window_id, alarm_id = await _drift(service)
    body = (await service.http.get("/v1/drift?limit=5")).json()
    assert body["state"] == "drift"
    assert [item["window_id"] for item in body["windows"]] == [window_id]
    assert body["windows"][0]["findings"][0]["detector"] == "label_psi"
    assert [(item["alarm_id"], item["state"]) for item in body["alarms"]] == [(alarm_id, "open")]


async def test_an_alarm_is_taken_note_of_once(service: Service) -> None:
    _, alarm_id = await _drift(service)
    done = await service.post(f"/v1/drift/alarms/{alarm_id}", {"by": "ada", "why": "a holiday"})
    assert (done.status_code, done.json()["state"], done.json()["decided_by"]) == (200, "acknowledged", "ada")
    again = await service.post(f"/v1/drift/alarms/{alarm_id}", {})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    nowhere = await service.post("/v1/drift/alarms/d_nowhere", {})
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    bad = await service.post(f"/v1/drift/alarms/{alarm_id}", {"who": "ada"})
    assert (bad.status_code, bad.json()["code"]) == (400, "malformed_body")


async def test_why_needs_a_window_and_a_profile(service: Service) -> None:
    window_id, _ = await _drift(service)
    without = await service.http.get(f"/v1/drift/{window_id}/why")
    assert (without.status_code, without.json()["code"]) == (409, "conflict")
    assert "text 1" not in without.text
    assert (await service.http.get("/v1/drift/w_nowhere/why")).status_code == 404


async def test_a_window_is_made_the_reference_and_that_is_in_the_trail(service: Service) -> None:
    window_id, _ = await _drift(service)
    done = await service.post("/v1/drift/reference", {"window_id": window_id, "by": "ada", "why": "a new shop"})
    assert (done.status_code, done.json()["window_id"], done.json()["model_version"]) == (200, window_id, "v1")
    body = (await service.http.get("/v1/drift")).json()
    assert (body["reference"]["decided_by"], body["alarms"][0]["state"]) == ("ada", "acknowledged")
    entries = (await service.http.get("/v1/trail")).json()["entries"]
    assert [(entry["action"], entry["target"]) for entry in entries] == [("set drift reference", "v1")]
    _by_command(service)
    for wrong, status in (({"window_id": "w_nowhere"}, 404), ({}, 400), ({"window_id": 1}, 400)):
        assert (await service.post("/v1/drift/reference", wrong)).status_code == status
    assert (await service.post("/v1/drift/reference", {"window_id": None})).json()["window_id"] is None
    assert (await service.http.get("/v1/drift")).json()["reference"] is None


def _by_command(service: Service) -> None:
    """Check that the command line shows the reference and changes it."""
    from deploy.cli import app

    runner = CliRunner(env={"HONE_HOME": str(service.parts.settings.home.root), "COLUMNS": "200"})
    assert "by ada" in runner.invoke(app, ["drift"]).output
    done = runner.invoke(app, ["drift", "--reference", "held-out"])
    assert done.exit_code == 0, done.output
    assert "compared with w_" not in runner.invoke(app, ["drift"]).output
