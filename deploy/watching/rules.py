"""Prometheus's rule file, made for the objectives of this installation: ``hone rules > rules.yml``."""

from __future__ import annotations

import yaml

from core.slo import Objectives
from deploy.watching.alerting import alerts
from deploy.watching.recording import records

_HEAD = "# Made by `hone rules` for the objectives named in HONE_SLO_…; do not edit.\n"


def rule_file(objectives: Objectives) -> str:
    """Return recording and alerting rules as Prometheus reads them."""
    recording = [{"record": record.name, "expr": record.expr} for record in records(objectives)]
    alerting = [
        {
            "alert": alert.name,
            "expr": alert.expr,
            "for": alert.after,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "look": alert.look, "runbook_url": alert.runbook},
        }
        for alert in alerts(objectives)
    ]
    groups = [{"name": "hone-records", "rules": recording}, {"name": "hone-alerts", "rules": alerting}]
    return _HEAD + yaml.safe_dump({"groups": groups}, sort_keys=False, width=120)
