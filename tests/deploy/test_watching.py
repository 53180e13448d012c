"""Prometheus and Grafana files: every name in them exists, every metric is used, every alert says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from core.metrics import CATALOGUE
from deploy.reference import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "hone.json").read_text(encoding="utf-8"))
ALERTS: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [alert["expr"] for alert in ALERTS] + [target["expr"] for panel in PANELS for target in panel["targets"]]


def names(expression: str) -> set[str]:
    """Return the series a PromQL expression reads."""
    return set(re.findall(r"\bhone_[a-z_]+", expression))


def series() -> set[str]:
    """Return every series the catalogue gives rise to."""
    plain = {metric.name for metric in CATALOGUE if metric.kind != "histogram"}
    parts = {
        f"{metric.name}_{part}" for metric in CATALOGUE if metric.kind == "histogram" for part in ("bucket", "sum", "count")
    }
    return plain | parts


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_series_asked_for_is_one_hone_has(expression: str) -> None:
    assert names(expression) <= series()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_label_asked_for_is_one_the_metric_has(expression: str) -> None:
    labels = {label for metric in CATALOGUE for label in metric.labels} | {"le", "job"}
    matched = {label for body in re.findall(r"\{([^}]*)\}", expression) for label in re.findall(r"(\w+)\s*[=!]", body)}
    grouped = {label.strip() for body in re.findall(r"by \(([^)]*)\)", expression) for label in body.split(",")}
    assert matched | grouped <= labels


def test_the_dashboard_shows_every_metric() -> None:
    shown = set().union(*(names(target["expr"]) for panel in PANELS for target in panel["targets"]))
    unused = [metric.name for metric in CATALOGUE if not any(name.startswith(metric.name) for name in shown)]
    assert unused == []


def test_every_panel_says_what_it_shows_and_has_a_place_of_its_own() -> None:
    assert all(panel["description"] for panel in PANELS)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_alert_says_what_is_wrong_and_where_to_look() -> None:
    for alert in ALERTS:
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert set(alert["annotations"]) == {"summary", "look"}


def test_provisioning_leads_to_the_dashboard_and_its_source() -> None:
    source = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "hone.yml").read_text())["providers"][0]
    assert all(panel["datasource"]["uid"] == source["uid"] for panel in PANELS)
    assert (ROOT / provider["options"]["path"] / "hone.json").is_file()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_accepts_the_configuration() -> None:
    subprocess.run(["promtool", "check", "config", str(PROMETHEUS / "prometheus.yml")], check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    played = subprocess.run(
        ["promtool", "test", "rules", str(ROOT / "tests" / "deploy" / "alerts.test.yml")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert played.returncode == 0, played.stderr
