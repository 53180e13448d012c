"""Commands where no service runs: they work on the state folder itself."""

from __future__ import annotations

import json

import pytest

from core.registry import Registry
from core.rollouts import RolloutRecord, Rollouts
from core.schemas import now
from core.settings import Settings
from feedback.store import Store
from tests.bundles import register_ngram_bundle
from tests.deploy.conftest import RunHone

pytestmark = pytest.mark.usefixtures("registry")


def test_predict_prints_a_table(hone: RunHone) -> None:
    result = hone("predict", "so positive", "very negative")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["so", "positive", "positive"], ["very", "negative", "negative"]]
    assert "answered by v1" in result.stderr


def test_predict_prints_json_lines_in_the_order_of_the_input(hone: RunHone) -> None:
    result = hone("predict", "--json", "--top-k", "2", stdin="positive\r\nnegative\nneutral")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["label"] for answer in answers] == ["positive", "negative", "neutral"]
    assert all(len(answer["scores"]) == 2 for answer in answers)
    assert all("prediction_id" not in answer for answer in answers)


def test_a_blank_line_is_refused_with_its_number(hone: RunHone) -> None:
    result = hone("predict", "-", stdin="positive\n \nnegative\n")
    assert result.exit_code == 1
    assert "line 2" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(("stdin", "said"), [(b"", "empty"), (b"\xff\xfe", "UTF-8"), ("x" * 20_001, "20000")])
def test_standard_input_that_cannot_be_used_is_refused(hone: RunHone, stdin: str | bytes, said: str) -> None:
    result = hone("predict", stdin=stdin)
    assert result.exit_code == 1
    assert said in result.stderr


def test_correct_keeps_the_correction_on_disk(hone: RunHone, settings: Settings) -> None:
    said = ["correct", "positive", "--text", "not bad", "--annotator", "ada", "--key", "k-1", "--json"]
    first, again = json.loads(hone(*said).stdout), json.loads(hone(*said).stdout)
    assert first == again
    store = Store.open(settings.sqlalchemy_url)
    kept = store.corrections().corrections
    store.close()
    assert [(item.label, item.annotator) for item in kept] == [("positive", "ada")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["correct", "positiv", "--text", "x"], "nearest: positive"),
        (["correct", "positive", "--text", " "], "blank"),
        (["correct", "positive", "--id", "p_none"], "no prediction has this prediction_id"),
        (["correct", "p" * 300, "--text", "x"], "label"),
    ],
)
def test_a_correction_that_cannot_be_kept_is_refused(hone: RunHone, arguments: list[str], said: str) -> None:
    result = hone(*arguments)
    assert result.exit_code == 1
    assert said in result.stderr


def test_models_are_listed_shown_promoted_and_rolled_back(hone: RunHone, registry: Registry) -> None:
    register_ngram_bundle(registry, seed=1)
    assert [model["version"] for model in json.loads(hone("models", "list", "--json").stdout)] == ["v2", "v1"]
    assert json.loads(hone("models", "show", "challenger", "--json").stdout)["version"] == "v2"
    assert hone("models", "promote", "v2", "--why", "looked at it").exit_code == 0
    assert registry.aliases().champion == "v2"
    assert registry.history()[-1].why == "looked at it"
    assert "v1 is the champion" in hone("models", "rollback").stdout
    assert registry.aliases().champion == "v1"
    assert "v2" in hone("models", "list").stdout
    assert "accuracy" in hone("models", "show", "v1").stdout


def test_a_challenger_is_named_and_withdrawn(hone: RunHone, registry: Registry) -> None:
    register_ngram_bundle(registry, seed=1)
    register_ngram_bundle(registry, seed=2)
    assert "v2 challenges it" in hone("models", "challenge", "v2", "--why", "try it").stdout
    assert json.loads(hone("models", "withdraw", "--json").stdout)["challenger"] is None
    assert [move.action for move in registry.history()[-2:]] == ["challenge", "withdraw"]
    assert "only another version" in hone("models", "challenge", "v1").stderr


def test_a_version_shows_what_became_of_it(hone: RunHone, registry: Registry) -> None:
    record = RolloutRecord(at=now(), version="v1", state="failed", reason="too large", replica_id="r1")
    Rollouts(registry.root).add(record)
    shown = hone("models", "show", "v1").stdout
    assert "failed" in shown
    assert "too large" in shown


def test_an_unknown_version_is_one_sentence(hone: RunHone) -> None:
    result = hone("models", "show", "v9")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no such version" in result.stderr


def test_nothing_to_roll_back_is_one_sentence(hone: RunHone) -> None:
    assert "none to go back to" in hone("models", "rollback").stderr


def test_status_says_what_would_serve(hone: RunHone) -> None:
    hone("correct", "positive", "--text", "fine")
    found = json.loads(hone("status", "--json").stdout)
    assert (found["service"], found["model_version"], found["corrections"]) == ("down", "v1", 1)
    assert "answers with" in hone("status").stdout
