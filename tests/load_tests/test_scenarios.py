"""Scenarios do what they say, their limits are judged, the exit code tells; tried on a replica, in a fraction of the time."""

from __future__ import annotations

import doctest
import json
from pathlib import Path

import pytest

import load_tests.scenario as scenario_module
from core.registry import Registry
from core.settings import Settings
from load_tests.outcome import Outcome
from load_tests.scenario import MEANINGS, Scenario, judge, read_scenarios
from load_tests.scenarios import ensure_two_versions, main
from tests.bundles import register_ngram_bundle
from tests.deploy.conftest import serving
from tests.ports import free_port

SCENARIOS = read_scenarios()
KINDS = {"one", "many", "confirm", "review", "bulk"}


def test_there_is_a_scenario_for_each_way_in_which_traffic_hurts() -> None:
    assert set(SCENARIOS) == {"steady", "burst", "overload", "mixed", "swap", "soak"}
    for scenario in SCENARIOS.values():
        assert set(scenario.tasks) <= KINDS
        assert set(scenario.keep) <= set(MEANINGS)
        assert "failed_ratio" in scenario.keep
    assert SCENARIOS["soak"].duration_s >= 20 * 60
    assert SCENARIOS["overload"].rate_per_caller is not None
    assert SCENARIOS["burst"].refusals
    assert SCENARIOS["overload"].refusals


@pytest.mark.parametrize("name", SCENARIOS)
def test_callers_come_and_go_as_its_stages_say(name: str) -> None:
    scenario = SCENARIOS[name]
    ends = 0.0
    for seconds, callers in scenario.stages:
        found = scenario.callers(ends + seconds / 2)
        assert found is not None
        assert found[0] == callers
        assert found[1] > 0
        ends += seconds
    assert scenario.callers(ends) is None
    assert scenario.scaled(0.1).duration_s == pytest.approx(scenario.duration_s / 10)


def test_what_was_not_seen_was_not_kept() -> None:
    scenario = Scenario(meaning="", stages=[(1, 1)], tasks={}, keep={"failed_ratio": 0.0, "p95_ms": 10.0})
    assert [verdict.kept for verdict in judge(scenario, {"failed_ratio": 0.0, "p95_ms": 11.0})] == [True, False]
    assert [verdict.kept for verdict in judge(scenario, {"failed_ratio": None})] == [None, None]


def test_growth_and_samples_are_what_their_examples_say() -> None:
    assert doctest.testmod(scenario_module).failed == 0


def test_an_answer_of_two_versions_is_torn() -> None:
    outcome = Outcome()
    outcome.saw_versions(["v1", "v1"])
    outcome.saw_versions(["v1", "v2"])
    assert outcome.torn == 1


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings with two versions, of which the second answers."""
    made = Settings.model_validate({"HONE_HOME": tmp_path / "home", "port": free_port(), "swap_poll_s": 0.05})
    made.home.prepare()
    registry = Registry(made.home.registry)
    for seed in range(2):
        registry.promote(register_ngram_bundle(registry, seed=seed), by="test", why="a fixture")
    return made


@pytest.mark.integration
@pytest.mark.parametrize("name", ["mixed", "swap"])
def test_a_scenario_runs_and_leaves_its_report(name: str, settings: Settings, tmp_path: Path) -> None:
    with serving(settings):
        code = main([name, "--host", settings.url, "--out", str(tmp_path), "--time-scale", "0.1"])
    told = json.loads((tmp_path / name / "verdicts.json").read_text())
    values = {item["figure"]: item["value"] for item in told["verdicts"]}
    assert told["trouble"] == []
    assert values["failed_ratio"] == 0
    assert values["p95_ms"] > 0
    assert values["batch_p95_ms"] > 0
    # How fast this machine is just now is nobody's business here; that the exit code tells is.
    assert code == (0 if all(item["kept"] for item in told["verdicts"]) else 1)
    page = (tmp_path / name / "index.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert (tmp_path / name / "locust.html").stat().st_size > 10_000
    assert len((tmp_path / name / "metrics.csv").read_text().splitlines()) > 5
    if name == "swap":
        assert told["acts"] > 3
        assert values["torn_answers"] == 0


@pytest.mark.integration
def test_a_service_that_fails_makes_the_exit_code_one(settings: Settings, tmp_path: Path) -> None:
    # One version only: there is nothing to change places with.
    alone = settings.model_copy(update={"home_dir": tmp_path / "alone"})
    alone.home.prepare()
    registry = Registry(alone.home.registry)
    registry.promote(register_ngram_bundle(registry), by="test", why="a fixture")
    with serving(alone):
        assert main(["swap", "--host", alone.url, "--out", str(tmp_path), "--time-scale", "0.1"]) == 1
    assert "409" in json.loads((tmp_path / "swap" / "verdicts.json").read_text())["trouble"][0]


def test_a_folder_with_one_version_gets_a_second_to_swap_with(settings: Settings) -> None:
    home = settings.home.root.parent / "another"
    one = Settings.model_validate({"HONE_HOME": home})
    one.home.prepare()
    registry = Registry(one.home.registry)
    registry.promote(register_ngram_bundle(registry), by="test", why="a fixture")
    for _ in range(2):
        ensure_two_versions(home)
        aliases = registry.aliases()
        assert (aliases.champion, aliases.previous) == ("v2", "v1")
    first, second = (registry.manifest(name) for name in ("v1", "v2"))
    assert first.probes == second.probes


def test_a_scenario_that_there_is_not_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["steady", "storm"])
    assert ended.value.code == 2
    assert "there is no scenario storm" in capsys.readouterr().err
