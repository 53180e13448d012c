"""`hone models approve` and `reject`, beside a service and without one, and what the trail keeps of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.gate import GateDecision
from core.registry import Registry
from tests.bundles import register_ngram_bundle
from tests.deploy.conftest import RunHone

_RECOMMENDED = GateDecision(promote=True, summary="passed on holdout_gain", champion="v1", rules=[], mode="approve")


def _trail(hone: RunHone) -> list[tuple[str, str]]:
    return [(entry["action"], entry["target"]) for entry in json.loads(hone("trail", "list", "--json").stdout)]


@pytest.fixture(params=["service", "alone"])
def either(request: pytest.FixtureRequest, registry: Registry) -> Registry:
    """Give a registry in which v2 waits for approval, with a service over it and without."""
    if request.param == "service":
        request.getfixturevalue("service")
    register_ngram_bundle(registry, seed=1, decision=_RECOMMENDED)
    return registry


def test_a_version_is_approved(hone: RunHone, either: Registry) -> None:
    assert "waits for approval" in hone("models", "list").stdout
    assert "approval" in hone("models", "promote", "v2").stderr
    said = hone("models", "approve", "v2", "--reason", "read the report")
    assert said.exit_code == 0
    assert "passed on holdout_gain" in said.stdout
    assert "v2 is approved by" in said.stdout
    assert either.aliases().champion == "v2"
    shown = hone("models", "show", "v2").stdout
    assert "a person's word: approved" in shown
    assert "read the report" in shown
    assert _trail(hone) == [("approve", "v2")]
    assert "the trail is whole" in hone("trail", "verify").stdout


def test_a_version_is_rejected(hone: RunHone, either: Registry) -> None:
    answer = json.loads(hone("models", "reject", "challenger", "--reason", "too bold", "--json").stdout)
    assert (answer["version"], answer["standing"], answer["champion"]) == ("v2", "refused", "v1")
    assert "refused by a person" in hone("models", "list").stdout
    assert _trail(hone) == [("refuse", "v2")]
    assert either.aliases().challenger is None


def test_what_was_compared_with_another_takes_saying_so(hone: RunHone, either: Registry) -> None:
    hone("models", "promote", register_ngram_bundle(either, seed=2))
    refused = hone("models", "approve", "v2", "--reason", "r")
    assert refused.exit_code == 1
    assert "compared with v1, and v3 is champion now" in refused.stderr
    assert hone("models", "approve", "v2", "--reason", "r", "--stale").exit_code == 0


def test_overrides_and_moves_without_a_service_are_in_the_trail(hone: RunHone, registry: Registry) -> None:
    register_ngram_bundle(registry, seed=1, decision=_RECOMMENDED)
    hone("models", "promote", "v2", "--override", "--why", "urgent")
    hone("models", "rollback")
    assert _trail(hone) == [("rollback", "v1"), ("override", "v2")]
    details = json.loads(hone("trail", "list", "--json").stdout)[1]["details"]
    assert details == {"act": "promote", "decision_hash": registry.decision_hash("v2"), "reason": "urgent"}


def test_a_report_is_written_as_a_page_and_as_json(hone: RunHone, either: Registry, tmp_path: Path) -> None:
    page, found = tmp_path / "gate.html", tmp_path / "gate.json"
    assert "passed on holdout_gain" in hone("models", "report", "v2", "--out", str(page)).stdout
    assert "waits for a person" in page.read_text(encoding="utf-8")
    assert hone("models", "report", "challenger", "--out", str(found)).exit_code == 0
    assert json.loads(found.read_text(encoding="utf-8"))["version"] == "v2"
    assert "was not asked about v1" in hone("models", "report", "v1", "--out", str(page)).stderr
    assert hone("models", "report", "v2", "--out", str(tmp_path / "no" / "where.html")).exit_code == 2
    assert either.versions() == ["v1", "v2"]
