"""Versions, runs, status and metrics over HTTP."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from core.gate import GateDecision, Rule
from core.schemas import RunAnswer
from feedback.leases import LEARNER
from feedback.store import Store
from serve.answers import ModelAnswer, ModelsAnswer, StatusAnswer
from serve.heartbeat import Heartbeat
from tests.bundles import LABELS, register_ngram_bundle
from tests.serve.conftest import Service, Start
from tests.serve.fakes import until

_REFUSAL = GateDecision(
    promote=False,
    summary="failed parity",
    champion="v1",
    rules=[Rule(name="parity", value=0.5, limit=0.99, kind="required", passed=False, why="engines differ")],
)


async def test_versions_are_listed_newest_first(start: Start) -> None:
    async with start(versions=2) as service:
        register_ngram_bundle(service.parts.registry, seed=7, decision=_REFUSAL)
        models = ModelsAnswer.model_validate_json((await service.http.get("/v1/models")).content).models
        assert [(model.version, model.aliases) for model in models] == [
            ("v3", ["challenger"]),
            ("v2", ["champion"]),
            ("v1", ["previous"]),
        ]
        assert models[0].gate is not None
        assert (models[0].gate.promote, models[0].gate.summary) == (False, "failed parity")
        assert (models[1].labels, models[1].features, models[1].metrics) == (3, "ngrams", {"accuracy": 0.9})


async def test_a_version_that_cannot_be_read_does_not_hide_the_others(start: Start) -> None:
    async with start(versions=2) as service:
        (service.parts.registry.path("v1") / "manifest.json").write_text("{}")
        models = (await service.http.get("/v1/models")).json()["models"]
        assert [(model["version"], model["problem"] is None) for model in models] == [("v2", True), ("v1", False)]


async def test_a_version_is_shown_by_name_and_by_alias_without_its_probes(service: Service) -> None:
    by_name, by_alias = [await service.http.get(f"/v1/models/{name}") for name in ("v1", "champion")]
    assert by_name.json() == by_alias.json()
    model = ModelAnswer.model_validate_json(by_name.content)
    assert (model.version, model.labels, model.decision) == ("v1", list(LABELS), None)
    assert model.card == "# A classifier of 3 labels\n"
    assert "probes" not in by_name.json()


@pytest.mark.parametrize("name", ["v9", "nonsense", "challenger", "v1%2F..", "%00"])
async def test_unknown_versions_are_not_found(service: Service, name: str) -> None:
    for response in (await service.http.get(f"/v1/models/{name}"), await service.post(f"/v1/models/{name}/promote", {})):
        assert (response.status_code, response.json()["code"]) in ((404, "unknown_version"), (404, "unknown_route"))


async def test_promoting_and_rolling_back_move_what_answers(service: Service) -> None:
    register_ngram_bundle(service.parts.registry, seed=5)
    moved = await service.post("/v1/models/challenger/promote", {"by": "ann", "why": "looks better"})
    assert moved.json() == {"champion": "v2", "previous": "v1", "challenger": None}
    await service.serves("v2")
    assert (await service.post("/v1/predict", {"text": "positive"})).json()["model_version"] == "v2"
    back = await service.post("/v1/rollback", {})
    assert back.json() == {"champion": "v1", "previous": "v2", "challenger": None}
    await service.serves("v1")
    assert [(move.action, move.by, move.why) for move in service.parts.registry.history()[-2:]] == [
        ("promote", "ann", "looks better"),
        ("rollback", "http", "by hand"),
    ]
    moves = (await service.http.get("/v1/models/v2")).json()["moves"]
    assert [(move["action"], move["version"], move["replaced"]) for move in moves] == [
        ("rollback", "v1", "v2"),
        ("promote", "v2", "v1"),
        ("register", "v2", None),
    ]


async def test_what_the_gate_refused_takes_an_override(service: Service) -> None:
    register_ngram_bundle(service.parts.registry, seed=5, decision=_REFUSAL)
    refused = await service.post("/v1/models/v2/promote", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "gate_refused")
    assert service.parts.registry.aliases().champion == "v1"
    assert (await service.post("/v1/models/v2/promote", {"override": True})).status_code == 200


async def test_a_damaged_version_is_not_promoted(service: Service) -> None:
    version = register_ngram_bundle(service.parts.registry, seed=5)
    (service.parts.registry.path(version) / "head.safetensors").write_bytes(b"")
    refused = await service.post(f"/v1/models/{version}/promote", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "bad_bundle")


async def test_there_may_be_nothing_to_roll_back(service: Service) -> None:
    response = await service.post("/v1/rollback", {})
    assert (response.status_code, response.json()["code"]) == (409, "nothing_to_roll_back")


async def test_moves_take_json_so_that_foreign_pages_cannot_send_them(service: Service) -> None:
    for path in ("/v1/rollback", "/v1/models/v1/promote", "/v1/runs", "/v1/corrections"):
        assert (await service.http.post(path)).status_code == 415
        assert (await service.http.post(path, content=b"{}", headers={"content-type": "text/plain"})).status_code == 415


async def test_a_run_is_queued_shown_and_stopped(service: Service) -> None:
    queued = await service.post("/v1/runs", {"speed": "full", "note": "try"})
    run = RunAnswer.model_validate_json(queued.content)
    assert (queued.status_code, run.state, run.speed, run.trigger, run.note) == (202, "queued", "full", "manual", "try")
    assert (await service.http.get("/v1/runs")).json()["runs"] == [queued.json()]
    assert (await service.http.get(f"/v1/runs/{run.run_id}")).json() == queued.json()
    stopped = await service.http.delete(f"/v1/runs/{run.run_id}")
    assert (stopped.status_code, stopped.json()["state"]) == (202, "cancelled")
    again = await service.http.delete(f"/v1/runs/{run.run_id}")
    assert (again.status_code, again.json()["code"]) == (409, "run_not_active")


async def test_a_run_is_resumed_and_repeated(service: Service) -> None:
    from feedback.runs import RunEnd
    from feedback.store import Store

    asked = (await service.post("/v1/runs", {"speed": "full"})).json()["run_id"]
    early = await service.post("/v1/runs", {"resume": asked})
    assert (early.status_code, early.json()["code"]) == (409, "run_not_repeatable")
    await service.parts.store.call(Store.claim_run, "test")
    await service.parts.store.call(Store.record_run, asked, {"snapshot": "s"})
    await service.parts.store.call(Store.finish_run, asked, RunEnd("cancelled"))
    resumed = RunAnswer.model_validate_json((await service.post("/v1/runs", {"resume": asked, "note": "on"})).content)
    assert (resumed.state, resumed.speed, resumed.resumes, resumed.note) == ("queued", "full", asked, "on")
    repeated = RunAnswer.model_validate_json((await service.post("/v1/runs", {"repeat": asked})).content)
    assert (repeated.repeats, repeated.resumes) == (asked, None)
    for body in ({"resume": asked, "repeat": asked}, {"resume": asked, "speed": "full"}):
        assert (await service.post("/v1/runs", body)).status_code in (400, 422)
    assert (await service.post("/v1/runs", {"repeat": "r_unknown"})).status_code == 404


async def test_a_run_says_how_it_was_asked_to_train_the_encoder(service: Service) -> None:
    body = {"speed": "full", "preset": "thorough", "finetune": {"layer_decay": 0.9, "dropout": None}}
    queued = RunAnswer.model_validate_json((await service.post("/v1/runs", body)).content)
    assert (queued.preset, queued.finetune) == ("thorough", body["finetune"])
    usual = RunAnswer.model_validate_json((await service.post("/v1/runs", {})).content)
    assert (usual.preset, usual.finetune) == (None, None)
    for wrong in ({"finetune": {"epochs": 0}}, {"finetune": {"warp": 9}}, {"speed": "head", "preset": "fast"}):
        assert (await service.post("/v1/runs", wrong)).status_code in (400, 422)
    for wrong in ({"preset": "fast"}, {"finetune": {"epochs": 2}}):
        assert (await service.post("/v1/runs", {"repeat": queued.run_id, **wrong})).status_code in (400, 422)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_unknown_runs_are_not_found(service: Service, method: str) -> None:
    response = await service.http.request(method, "/v1/runs/r_nowhere")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_run")


async def test_unknown_speeds_are_refused(service: Service) -> None:
    response = await service.post("/v1/runs", {"speed": "memory"})
    assert response.status_code == 400
    assert "speed: must be 'head', 'full' or 'auto'" in response.json()["error"]


async def test_the_status_tells_what_serves_and_what_people_said(service: Service) -> None:
    answer = (await service.post("/v1/predict", {"text": "positive"})).json()
    wrong = (await service.post("/v1/predict", {"text": "negative"})).json()
    for prediction, label in ((answer, "positive"), (wrong, "neutral")):
        await service.post("/v1/corrections", {"prediction_id": prediction["prediction_id"], "label": label})
    run = (await service.post("/v1/runs", {})).json()
    status = StatusAnswer.model_validate_json((await service.http.get("/v1/status")).content)
    assert (status.replica_id, status.model_version, status.source, status.store_up) == ("replica-1", "v1", "head", True)
    assert status.labels == list(LABELS)
    assert [(replica.replica_id, replica.state) for replica in status.replicas] == [("replica-1", "serving")]
    assert (status.corrections, status.confirmations, status.predictions.written) == (1, 1, 2)
    assert [(live.version, live.right, live.wrong, live.accuracy) for live in status.live_accuracy] == [("v1", 1, 1, 0.5)]
    assert status.last_run is not None
    assert status.last_run.run_id == run["run_id"]
    assert (status.rollout_failure, status.loading, status.waiting_texts) == (None, None, 0)


async def test_the_status_lists_other_replicas_too(start: Start) -> None:
    from feedback.replicas import ReplicaReport
    from feedback.store import Store

    async with start() as service:
        other = ReplicaReport("replica-2", "v1", "failed", "v2", "its checksum differs")
        await service.parts.store.call(Store.report_replica, other)
        status = (await service.http.get("/v1/status")).json()
        assert [(replica["replica_id"], replica["reason"]) for replica in status["replicas"]] == [
            ("replica-1", None),
            ("replica-2", "its checksum differs"),
        ]


async def test_a_replica_that_ends_is_no_longer_listed(start: Start) -> None:
    from feedback.store import Store

    async with start() as service:
        settings = service.parts.settings
        await until(lambda: service.value("hone_store_up") == 1.0)
    assert Store(settings.sqlalchemy_url).replicas() == []


@pytest.fixture
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the heartbeat refresh its gauges many times a second."""
    monkeypatch.setattr("serve.heartbeat._GAUGES_EVERY", 1)
    monkeypatch.setattr("serve.heartbeat._PERIOD_S", 0.01)


@pytest.mark.usefixtures("quick_beats")
async def test_metrics_are_prometheus_text(service: Service) -> None:
    await service.post("/v1/predict", {"text": "positive"})
    await until(lambda: service.value("hone_replicas", state="serving") == 1.0)
    response = await service.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    assert 'hone_predictions_total{source="head",version="v1"} 1.0' in lines
    assert 'hone_champion_info{version="v1"} 1.0' in lines
    assert 'hone_replicas{state="serving"} 1.0' in lines


@pytest.mark.usefixtures("quick_beats")
async def test_live_accuracy_becomes_a_gauge(service: Service) -> None:
    answer = (await service.post("/v1/predict", {"text": "positive"})).json()
    await service.post("/v1/corrections", {"prediction_id": answer["prediction_id"], "label": "positive"})
    await until(lambda: service.value("hone_live_accuracy_ratio", version="v1") == 1.0)
    assert service.value("hone_labelled", version="v1", outcome="right") == 1.0


async def test_gauges_that_are_slow_to_read_are_read_seldom(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, shown = itertools.count(), itertools.count()
    # Each look at the clock is a second after the one before.
    beating = Heartbeat(service.parts, lambda: float(next(seconds)))
    here = asyncio.current_task()
    # The replica has a heartbeat of its own, which may beat meanwhile.
    monkeypatch.setattr("serve.heartbeat.show_store", lambda *_: next(shown) if asyncio.current_task() is here else None)
    for _ in range(40):
        await beating.beat()
    assert next(shown) == 2


async def test_what_is_known_rather_than_counted_is_shown(service: Service) -> None:
    await Heartbeat(service.parts).beat()
    assert service.value("hone_learner_up") == 0.0
    assert service.value("hone_corrections_unlearned") == 0.0
    assert service.value("hone_spool_rows") == service.value("hone_spool_age_seconds") == 0.0
    answer = (await service.post("/v1/predict", {"text": "positive"})).json()
    assert service.parts.log is not None
    await asyncio.to_thread(service.parts.log.flush, 10.0)
    correction = {"prediction_id": answer["prediction_id"], "label": "negative"}
    assert (await service.post("/v1/corrections", correction)).status_code == 201
    await service.parts.store.call(Store.take_lease, LEARNER, "somebody", 60.0)
    await Heartbeat(service.parts).beat()
    assert service.value("hone_learner_up") == 1.0
    assert service.value("hone_corrections_unlearned") == 1.0
    assert service.value("hone_champion_since_timestamp_seconds") == pytest.approx(time.time(), abs=600)
    assert service.value("hone_store_seconds_count", call="add_correction") == 1.0
    assert service.value("hone_store_failures_total") == 0.0
