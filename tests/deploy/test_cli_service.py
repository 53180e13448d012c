"""Commands where a service runs: they speak to it, over HTTP, to a real replica."""

from __future__ import annotations

import json
import threading

import pytest

from core.errors import UnknownVersion
from core.registry import Registry
from core.settings import Settings
from deploy.client import ServiceClient
from feedback.runs import RunEnd
from feedback.store import Store
from tests.bundles import register_ngram_bundle
from tests.deploy.conftest import RunHone

pytestmark = pytest.mark.usefixtures("service")


def test_predict_asks_the_service_in_as_many_requests_as_it_takes(hone: RunHone) -> None:
    result = hone("predict", "--json", stdin="\n".join(["positive", "negative"] * 25))
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["label"] for answer in answers] == ["positive", "negative"] * 25
    assert all(answer["prediction_id"].startswith("p_") for answer in answers)


def test_a_prediction_can_be_corrected_by_its_id(hone: RunHone) -> None:
    answer = json.loads(hone("predict", "--json", "positive").stdout)
    said = hone("correct", "negative", "--id", answer["prediction_id"])
    assert said.exit_code == 0
    assert "the model had said positive" in said.stdout
    assert json.loads(hone("status", "--json").stdout)["corrections"] == 1


def test_half_a_surrogate_pair_is_refused_by_the_service(hone: RunHone) -> None:
    result = hone("predict", "broken \udcff")
    assert result.exit_code == 1
    assert result.stderr.startswith("hone: ")


def test_an_error_of_the_service_is_the_error_it_names(service: Settings) -> None:
    with pytest.raises(UnknownVersion):
        ServiceClient(service).model("v9")


def test_promote_moves_what_answers(hone: RunHone, registry: Registry) -> None:
    register_ngram_bundle(registry, seed=1)
    assert "v2 is the champion" in hone("models", "promote", "v2").stdout
    assert [model["aliases"] for model in json.loads(hone("models", "list", "--json").stdout)] == [["champion"], ["previous"]]


def test_what_the_service_shows_of_a_version_is_what_the_registry_shows(hone: RunHone) -> None:
    there = json.loads(hone("models", "show", "v1", "--json").stdout)
    here = json.loads(hone("models", "show", "v1", "--json", "--local").stdout)
    assert there == here
    listed_there = json.loads(hone("models", "list", "--json").stdout)
    assert listed_there == json.loads(hone("models", "list", "--json", "--local").stdout)


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1)])
def test_learn_follows_the_run_to_its_end(hone: RunHone, service: Settings, state: str, code: int) -> None:
    learner = threading.Thread(target=_learn, args=(service, state))
    learner.start()
    result = hone("learn", "--note", "a test", "--json")
    learner.join()
    run = json.loads(result.stdout)
    assert (run["state"], run["note"], result.exit_code) == (state, "a test", code)


def test_learn_says_how_the_encoder_is_trained(hone: RunHone, service: Settings) -> None:
    learner = threading.Thread(target=_learn, args=(service, "succeeded"))
    learner.start()
    run = json.loads(hone("learn", "--speed", "full", "--preset", "thorough", "--set", "epochs=2", "--json").stdout)
    learner.join()
    assert (run["preset"], run["finetune"]) == ("thorough", {"epochs": 2})
    for wrong in (["--set", "epochs"], ["--set", "warp=9"], ["--speed", "head", "--preset", "fast"]):
        assert hone("learn", *wrong).exit_code == 2
    assert hone("learn", "--repeat", "r_1", "--preset", "fast").exit_code == 2


def test_learn_resumes_and_repeats_a_run(hone: RunHone, service: Settings) -> None:
    store = Store.open(service.sqlalchemy_url)
    stopped = store.create_run("full")
    store.claim_run("a test")
    store.record_run(stopped.run_id, {"snapshot": "s"})
    store.finish_run(stopped.run_id, RunEnd("cancelled"))
    store.close()
    for option, field in (("--resume", "resumes"), ("--repeat", "repeats")):
        learner = threading.Thread(target=_learn, args=(service, "succeeded"))
        learner.start()
        run = json.loads(hone("learn", option, stopped.run_id, "--json").stdout)
        learner.join()
        assert (run["state"], run["speed"], run[field]) == ("succeeded", "full", stopped.run_id)
    assert hone("learn", "--resume", "r_1", "--repeat", "r_1").exit_code == 2
    refused = hone("learn", "--resume", "r_unknown")
    assert (refused.exit_code, refused.stderr.startswith("hone: ")) == (1, True)


def test_status_names_the_replica(hone: RunHone) -> None:
    found = json.loads(hone("status", "--json").stdout)
    assert (found["service"], found["model_version"]) == ("up", "v1")
    assert "replica replica-1" in hone("status").stdout


def test_the_doctor_finds_the_service(hone: RunHone) -> None:
    checks = {check["name"]: check for check in json.loads(hone("doctor", "--json").stdout)}
    assert checks["service"]["verdict"] == "ok"


def _learn(settings: Settings, state: str) -> None:
    """Do what a learner does, without learning."""
    store = Store.open(settings.sqlalchemy_url)
    run = None
    while run is None:
        run = store.claim_run("a test")
    store.update_run(run.run_id, stage="fit", progress_ratio=0.5)
    end = RunEnd("succeeded", version="v1", promoted=False) if state == "succeeded" else RunEnd("failed", error="a reason")
    store.finish_run(run.run_id, end)
    store.close()
