"""Signing for versions over HTTP: the champion moves, and the audit trail and the version tell who answers for it."""

from __future__ import annotations

from typing import Any

import pytest

from core.gate import GateDecision
from feedback.store import Store
from serve.answers import ApprovalAnswer, ModelAnswer, ModelsAnswer
from tests.bundles import register_ngram_bundle
from tests.serve.conftest import Service

_RECOMMENDED = GateDecision(promote=True, summary="passed on holdout_gain", champion="v1", rules=[], mode="approve")


async def _trail(service: Service) -> list[dict[str, Any]]:
    return list((await service.http.get("/v1/trail")).json()["entries"])


async def _model(service: Service, version: str) -> ModelAnswer:
    return ModelAnswer.model_validate_json((await service.http.get(f"/v1/models/{version}")).content)


@pytest.fixture
def waiting(service: Service) -> Service:
    """Give a replica that answers with v1, beside which v2 waits for approval."""
    register_ngram_bundle(service.parts.registry, seed=5, decision=_RECOMMENDED)
    return service


async def test_what_is_approved_answers_is_watched_and_signed_for(waiting: Service) -> None:
    before = await _model(waiting, "v2")
    assert (before.standing, before.signatures) == ("waiting", [])
    said = {"approve": True, "reason": "tried ten texts", "by": "ada", "seen": before.decision_hash}
    answer = ApprovalAnswer.model_validate_json((await waiting.post("/v1/models/v2/approve", said)).content)
    assert (answer.version, answer.standing, answer.champion, answer.previous) == ("v2", "approved", "v2", "v1")
    await waiting.serves("v2")
    status = (await waiting.http.get("/v1/status")).json()
    assert (status["probation"] or {"version": "v2"})["version"] == "v2"
    (signature,) = (await _model(waiting, "v2")).signatures
    assert (signature.action, signature.by, signature.reason) == ("approve", "ada (local)", "tried ten texts")
    assert signature.decision_hash == before.decision_hash
    (entry,) = await _trail(waiting)
    assert (entry["actor"], entry["action"], entry["target"]) == ("ada (local)", "approve", "v2")
    assert entry["details"] == {
        "champion": "v1",
        "decision_hash": before.decision_hash,
        "reason": "tried ten texts",
        "stale": False,
    }


async def test_what_is_refused_does_not_answer(waiting: Service) -> None:
    answer = await waiting.post("/v1/models/challenger/approve", {"approve": False, "reason": "too bold"})
    assert answer.json() == {"version": "v2", "standing": "refused", "champion": "v1", "previous": None, "challenger": None}
    refused = await waiting.post("/v1/models/v2/promote", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "approval_needed")
    listed = ModelsAnswer.model_validate_json((await waiting.http.get("/v1/models")).content).models
    assert [(model.version, model.standing) for model in listed] == [("v2", "refused"), ("v1", None)]
    assert [entry["action"] for entry in await _trail(waiting)] == ["refuse"]


async def test_a_champion_of_meanwhile_is_a_conflict_unless_one_knows(waiting: Service) -> None:
    register_ngram_bundle(waiting.parts.registry, seed=6)
    await waiting.post("/v1/models/v3/promote", {"by": "ben"})
    stale = await waiting.post("/v1/models/v2/approve", {"approve": True, "reason": "r"})
    assert (stale.status_code, stale.json()["code"]) == (409, "approval_stale")
    assert stale.json()["details"] == {"compared_with": "v1", "champion": "v3"}
    assert (await waiting.post("/v1/models/v2/approve", {"approve": True, "reason": "r", "stale": True})).status_code == 200


async def test_an_override_leaves_a_mark_of_its_own(waiting: Service) -> None:
    assert (await waiting.post("/v1/models/v2/promote", {"by": "ben", "why": "urgent", "override": True})).status_code == 200
    (entry,) = await _trail(waiting)
    assert (entry["action"], entry["target"]) == ("override", "v2")
    seen = waiting.parts.registry.decision_hash("v2")
    assert entry["details"] == {"act": "promote", "by": "ben", "decision_hash": seen, "reason": "urgent"}
    # Where there was nothing to override the route says all there is to say.
    await waiting.post("/v1/models/v1/promote", {"override": True})
    assert [entry["action"] for entry in await _trail(waiting)] == ["POST /v1/models/{version}/promote", "override"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"approve": True}, 400),
        ({"approve": "perhaps", "reason": "r"}, 400),
        ({"approve": True, "reason": ""}, 400),
        ({"approve": True, "reason": "r", "seen": "x"}, 400),
        ({"approve": True, "reason": "r", "seen": "0" * 64}, 409),
    ],
)
async def test_half_a_signature_is_none(waiting: Service, body: dict[str, object], status: int) -> None:
    assert (await waiting.post("/v1/models/v2/approve", body)).status_code == status
    assert (await waiting.post("/v1/models/v1/approve", {"approve": True, "reason": "r"})).status_code == 409
    assert (await waiting.post("/v1/models/v9/approve", {"approve": True, "reason": "r"})).status_code == 404
    assert await _trail(waiting) == []


async def test_how_many_wait_and_how_long_are_metrics(waiting: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    from core.registry import Registry
    from core.schemas import now
    from feedback.spool import Spool
    from serve.state_gauges import read_disk, show_disk

    def look() -> tuple[float | None, float]:
        show_disk(waiting.parts.metrics, read_disk(Registry(home.registry), Spool(home.spool, 0)), 0)
        return waiting.value("hone_approvals_waiting"), waiting.value("hone_approval_waiting_seconds") or 0.0

    home = waiting.parts.settings.home
    later = now() + timedelta(hours=30)
    monkeypatch.setattr("serve.state_gauges.now", lambda: later)
    count, waited_s = look()
    assert count == 1
    assert 108_000 <= waited_s < 112_000
    assert (await waiting.post("/v1/models/v2/approve", {"approve": True, "reason": "r"})).status_code == 200
    assert look() == (0, 0.0)


async def test_while_the_store_is_away_nobody_signs(waiting: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.errors import StoreUnavailable

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("it is away")

    monkeypatch.setattr(Store, "record", away)
    refused = await waiting.post("/v1/models/v2/approve", {"approve": True, "reason": "r"})
    assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
    assert waiting.parts.registry.standing("v2") == "waiting"
    assert waiting.parts.registry.aliases().champion == "v1"
