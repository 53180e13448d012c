"""Prometheus and Grafana files: every name in them exists, every metric is used, every alert says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as Schema
from typer.testing import CliRunner, Result

from core.metric_catalogue import CATALOGUE
from core.settings import Settings
from core.slo import LATENCY_BUCKETS_S, Objectives
from deploy.cli import app
from deploy.reference import ROOT
from deploy.watching.alerting import alerts
from deploy.watching.dashboards import DASHBOARDS
from deploy.watching.panels import expressions, to_json
from deploy.watching.recording import PREDICTING, records
from deploy.watching.rules import rule_file
from serve.roles import ROUTE_ROLES

PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
OBJECTIVES = Objectives(0.999, 0.25, 0.99)
JSONS = {dashboard.uid: to_json(dashboard) for dashboard in DASHBOARDS}
PANELS = [panel for text in JSONS.values() for panel in json.loads(text)["panels"] if panel["type"] != "row"]
SHOWN = [expression for text in JSONS.values() for expression in expressions(text)]
RULES = [*(record.expr for record in records(OBJECTIVES)), *(alert.expr for alert in alerts(OBJECTIVES))]
EXPRESSIONS = [*SHOWN, *RULES]
_FROM_TARGETS = {"job", "instance", "deployment", "model", "le"}


def names(expression: str) -> set[str]:
    """Return the series of Hone that a PromQL expression reads."""
    return set(re.findall(r"\bhone[_:][a-z_:0-9]+", re.sub(r'"[^"]*"', "", expression)))


def series() -> set[str]:
    """Return every series that the catalogue and the recording rules give rise to."""
    plain = {metric.name for metric in CATALOGUE if metric.kind != "histogram"}
    parts = {
        f"{metric.name}_{part}" for metric in CATALOGUE if metric.kind == "histogram" for part in ("bucket", "sum", "count")
    }
    return plain | parts | {record.name for record in records(OBJECTIVES)}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_series_asked_for_is_one_hone_has(expression: str) -> None:
    assert names(expression) <= series()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_label_asked_for_is_one_the_metric_has(expression: str) -> None:
    labels = {label for metric in CATALOGUE for label in metric.labels} | _FROM_TARGETS
    matched = {label for body in re.findall(r"\{([^}]*)\}", expression) for label in re.findall(r"(\w+)\s*[=!]", body)}
    grouped = {label.strip() for body in re.findall(r"(?:by|on) \(([^)]*)\)", expression) for label in body.split(",")}
    assert matched | grouped - {""} <= labels


def test_the_dashboards_show_every_metric() -> None:
    shown = set().union(*(names(expression) for expression in SHOWN))
    used = shown | {name for record in records(OBJECTIVES) if record.name in shown for name in names(record.expr)}
    unused = [metric.name for metric in CATALOGUE if not any(name.startswith(metric.name) for name in used)]
    assert unused == []


def test_every_panel_says_what_it_shows_and_has_a_place_of_its_own() -> None:
    assert all(panel["description"].endswith(".") for panel in PANELS)
    for text in JSONS.values():
        panels = json.loads(text)["panels"]
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
        assert len(set(places)) == len(places)
        assert len({panel["id"] for panel in panels}) == len(panels)
        assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


@pytest.mark.parametrize("uid", JSONS)
def test_a_dashboard_is_what_grafanas_own_schema_reads_and_writes(uid: str) -> None:
    read = Schema.from_json(json.loads(JSONS[uid]))
    again = json.loads(JSONEncoder(sort_keys=True).encode(read))
    assert again == json.loads(JSONS[uid])
    assert read.uid == uid
    assert {variable.name for variable in (read.templating.list_val or [])} == {"deployment", "model", "version"}


def test_every_alert_says_what_is_wrong_where_to_look_and_what_to_do() -> None:
    runbooks = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    sections = {heading.lower(): body for heading, body in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", runbooks, re.S | re.M)}
    found = alerts(OBJECTIVES)
    assert {alert.name.lower() for alert in found} == set(sections)
    for alert in found:
        assert alert.severity in {"page", "ticket"}
        assert alert.summary.endswith(".")
        assert alert.look.endswith(".")
        page, _, section = alert.runbook.partition("#")
        assert (ROOT / page).is_file()
        assert sections[section].strip().startswith(f"A {alert.severity}.")


def test_the_objectives_are_about_every_route_that_predicts() -> None:
    predicting = re.compile(PREDICTING)
    posts = {path for method, path in ROUTE_ROLES if method == "POST"}
    routes = {path for path in posts if path.endswith(("predict", "infer")) or path in {"/", "/hf"}}
    assert routes == {path for path in posts if predicting.fullmatch(path)}


def test_rules_are_made_for_the_objectives_of_this_stack(settings: Settings) -> None:
    def rules(**changed: str) -> Result:
        return CliRunner().invoke(app, ["rules"], env={"HONE_HOME": str(settings.home.root), **changed})

    text = rules(HONE_SLO_LATENCY_S="0.1", HONE_SLO_AVAILABILITY_RATIO="0.99").stdout
    assert text == rule_file(Objectives(0.99, 0.1, 0.99))
    assert 'le="0.1"' in text
    refused = rules(HONE_SLO_LATENCY_S="0.2")
    assert refused.exit_code != 0
    assert "0.25" in refused.stderr


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed")
    return found


def test_the_latency_objective_is_counted_and_not_guessed() -> None:
    for metric in CATALOGUE:
        if metric.name == "hone_request_seconds":
            assert metric.buckets == LATENCY_BUCKETS_S


def test_provisioning_leads_to_the_dashboards_and_their_source() -> None:
    source = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "hone.yml").read_text())["providers"][0]
    assert all(panel["datasource"]["uid"] == source["uid"] for panel in PANELS)
    assert {path.stem for path in (ROOT / provider["options"]["path"]).iterdir()} == set(JSONS)


@pytest.mark.parametrize("name", ["prometheus.yml", "discovery.yml"])
def test_prometheus_accepts_the_configuration(promtool: str, name: str) -> None:
    subprocess.run([promtool, "check", "config", str(PROMETHEUS / name)], check=True, capture_output=True)


# What is put in, minute by minute, and which alerts fire at the end; all others must be quiet.
_GOOD = {
    'up{job="hone",deployment="a"}': "1x{n}",
    'hone_replicas{deployment="a",state="serving"}': "1x{n}",
    'hone_store_up{deployment="a"}': "1x{n}",
    'hone_learner_up{deployment="a"}': "1x{n}",
    'hone_spool_ratio{deployment="a"}': "0x{n}",
    'hone_corrections_unlearned{deployment="a"}': "3x{n}",
    'hone_champion_since_timestamp_seconds{deployment="a"}': "0x{n}",
    'hone_process_open_files_ratio{deployment="a",process="replica"}': "0.1x{n}",
    'hone_requests_total{deployment="a",route="/v1/predict",status="200"}': "0+6000x{n}",
    'hone_requests_total{deployment="a",route="/v1/predict",status="429"}': "0x{n}",
    'hone_requests_total{deployment="a",route="/v1/predict",status="500"}': "0x{n}",
    'hone_request_seconds_bucket{deployment="a",route="/v1/predict",le="0.25"}': "0+6000x{n}",
    'hone_request_seconds_count{deployment="a",route="/v1/predict"}': "0+6000x{n}",
    'hone_refused_total{deployment="a",code="overloaded"}': "0x{n}",
    'hone_swaps_total{deployment="a",outcome="failed"}': "0x{n}",
    'hone_rollouts_total{deployment="a",state="rolled_back"}': "0x{n}",
    'hone_log_rows_total{deployment="a",outcome="dropped"}': "0x{n}",
    'hone_runs_total{deployment="a",speed="head",state="succeeded"}': "1x{n}",
    'hone_approval_waiting_seconds{deployment="a"}': "0x{n}",
    'hone_holdout_worn{deployment="a"}': "0x{n}",
    'hone_drift_detected{deployment="a",detector="labels"}': "0x{n}",
    'hone_champion_info{deployment="a",version="v2"}': "1x{n}",
    'hone_holdout_accuracy_ratio{deployment="a",version="v2"}': "0.9x{n}",
    'hone_audited_accuracy_ratio{deployment="a",version="v2",bound="high"}': "0.92x{n}",
    'hone_estimated_accuracy_ratio{deployment="a",version="v2",bound="low"}': "0.85x{n}",
}
_SCENARIOS: list[tuple[str, int, dict[str, str], set[str]]] = [
    ("all is well", 120, {}, set()),
    ("scrapes go unanswered", 30, {"up{job": "1x5 0x25"}, {"HoneDown"}),
    ("a scrape goes unanswered once", 30, {"up{job": "1x29 0x1"}, set()),
    ("no replica serves", 30, {"hone_replicas": "1x5 0x25"}, {"HoneNoReplicaServes"}),
    ("the store is away", 30, {"hone_store_up": "1x5 0x25"}, {"HoneStoreAway"}),
    ("the spool fills", 30, {"hone_spool_ratio": "0.6x30"}, {"HoneSpoolFills"}),
    ("records are dropped", 30, {"hone_log_rows": "0x28 5x2"}, {"HonePredictionsDropped"}),
    ("a version does not load", 30, {"hone_swaps": "0x28 1x2"}, {"HoneVersionRefused"}),
    ("a version is taken back", 30, {"hone_rollouts": "0x28 1x2"}, {"HoneRolledBack"}),
    ("a first run fails", 30, {'state="succeeded"': "_x30"}, set()),
    ("the learner is gone", 30, {"hone_learner_up": "0x30"}, {"HoneLearnerGone"}),
    ("files run out", 30, {"hone_process_open": "0.9x30"}, {"HoneFilesRunOut"}),
    ("a version waits for a signature", 60, {"hone_approval": "81000+60x60"}, set()),
    ("a version has waited for more than a day", 120, {"hone_approval": "81000+60x120"}, {"HoneApprovalWaits"}),
    ("a version that had waited is signed for", 120, {"hone_approval": "84000+60x60 0x60"}, set()),
    ("the holdout is worn out", 30, {"hone_holdout_worn": "0x10 1x20"}, {"HoneHoldoutWorn"}),
    ("traffic drifts", 30, {"hone_drift": "0x10 1x20"}, {"HoneDrift"}),
    ("accuracy dropped", 30, {"hone_audited": "0.86x30"}, {"HoneAccuracyDropped"}),
    ("an old version's accuracy is no matter", 30, {"hone_audited": "0.86x30", "hone_champion_info": "0x30"}, set()),
    ("the model is surer than it is right", 30, {"hone_estimated": "0.93x30"}, {"HoneConceptDrift"}),
    ("requests are refused", 30, {"hone_refused": "0+9x30"}, {"HoneOverloaded"}),
    # 2% of requests fail: 20 times what 99.9% allows. For an hour it is a page; the tickets' windows see it as well.
    ("many requests fail", 90, {'status="500"': "0+120x90"}, {"HoneUnavailableFast", "HoneUnavailableSlowly"}),
    # 0.2% fail: twice what is allowed, seen over three days alone.
    ("a few requests fail", 360, {'status="500"': "0+12x360"}, {"HoneUnavailableSlowly"}),
    # The short window ends the alert soon after its cause, though the long one still holds.
    ("many requests failed, an hour ago", 150, {'status="500"': "0+120x80 9600x70"}, {"HoneUnavailableSlowly"}),
    ("a spike of five minutes", 90, {'status="500"': "0x80 0+60x5 300x5"}, set()),
    ("a third is slow", 90, {"hone_request_seconds_bucket": "0+4000x90"}, {"HoneSlowFast", "HoneSlowSlowly"}),
]


def test_the_alerts_fire_when_they_should_and_only_then(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rule_file(OBJECTIVES))
    tests = [_scenario(*scenario) for scenario in _SCENARIOS]
    failing = {**_put({}, 30), 'hone_runs_total{deployment="a",speed="head",state="failed"}': "_x20 1x10"}
    tests.append(_played("a first run fails", 30, failing, {"HoneRunFailed"}))
    _play(promtool, tmp_path, tests, "1m")
    # Weeks are long: a look every six hours is as good.
    stale = {
        'hone_corrections_unlearned{deployment="a"}': "3x80",
        'hone_champion_since_timestamp_seconds{deployment="a"}': "0x80",
    }
    weeks = _played("nothing was promoted for weeks", 60 * 24 * 18, stale, {"HoneChampionStale"})
    _play(promtool, tmp_path, [{**weeks, "interval": "6h"}], "6h")


def _play(promtool: str, folder: Path, tests: list[dict[str, Any]], every: str) -> None:
    file = folder / "alerts.test.yml"
    # Without an order promtool takes one by chance, and a record that comes after the alert is six hours old to it: stale.
    order = ["hone-records", "hone-alerts"]
    played_with = {"rule_files": ["rules.yml"], "evaluation_interval": every, "group_eval_order": order, "tests": tests}
    file.write_text(yaml.safe_dump(played_with))
    played = subprocess.run([promtool, "test", "rules", str(file)], check=False, capture_output=True, text=True, timeout=60)
    assert played.returncode == 0, played.stdout + played.stderr


def test_every_alert_is_seen_firing() -> None:
    fired = set().union(*(expected for *_, expected in _SCENARIOS)) | {"HoneRunFailed", "HoneChampionStale"}
    assert fired == {alert.name for alert in alerts(OBJECTIVES)}


def _put(changes: dict[str, str], minutes: int) -> dict[str, str]:
    changed = {
        name: next((values for part, values in changes.items() if part in name), values) for name, values in _GOOD.items()
    }
    return {name: values.format(n=minutes) for name, values in changed.items()}


def _scenario(name: str, minutes: int, changes: dict[str, str], expected: set[str]) -> dict[str, Any]:
    return _played(name, minutes, _put(changes, minutes), expected)


def _played(name: str, minutes: int, given: dict[str, str], expected: set[str]) -> dict[str, Any]:
    checks = []
    for alert in alerts(OBJECTIVES):
        check: dict[str, Any] = {"eval_time": f"{minutes}m", "alertname": alert.name}
        if alert.name in expected:
            labels = {"severity": alert.severity, "deployment": "a"}
            labels |= {"job": "hone"} if alert.name == "HoneDown" else {}
            labels |= {"process": "replica"} if alert.name == "HoneFilesRunOut" else {}
            labels |= {"detector": "labels"} if alert.name == "HoneDrift" else {}
            labels |= {"version": "v2"} if alert.name in {"HoneAccuracyDropped", "HoneConceptDrift"} else {}
            told = {"summary": alert.summary, "look": alert.look, "runbook_url": alert.runbook}
            check["exp_alerts"] = [{"exp_labels": labels, "exp_annotations": told}]
        checks.append(check)
    series = [{"series": key, "values": values} for key, values in given.items()]
    return {"name": name, "interval": "1m", "input_series": series, "alert_rule_test": checks}
