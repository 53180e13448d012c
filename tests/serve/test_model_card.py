"""The model card: all of it from what is on disk, the same as JSON and as Markdown, with other people's words as words."""

from __future__ import annotations

import json

import pytest

from core.gate import ClassChange, GateDecision
from serve.model_card import ModelCard, card_of, markdown_of
from tests.bundles import register_ngram_bundle
from tests.serve.conftest import Service, Start


def _change(name: str, rows: int, right: int) -> ClassChange:
    return ClassChange(name=name, rows=rows, champion_right=rows // 2, candidate_right=right, better=1, worse=1)


def _decision(name: str = "region north") -> GateDecision:
    return GateDecision(
        promote=True,
        summary="passed on holdout_gain",
        champion="v1",
        rules=[],
        mode="approve",
        classes=[_change("good", 100, 90), _change("rare", 10, 4), _change("none", 0, 0)],
        slices=[_change(name, 50, 40), _change("region south", 50, 20)],
        holdout=_change("holdout", 110, 94),
    )


async def test_a_card_tells_results_slices_limits_and_who_signed(service: Service) -> None:
    register_ngram_bundle(service.parts.registry, seed=3, decision=_decision())
    await service.post("/v1/models/v2/approve", {"approve": True, "reason": "read it", "by": "ada"})
    answer = await service.http.get("/v1/models/champion/card")
    card = ModelCard.model_validate_json(answer.content)
    assert (card.version, card.aliases) == ("v2", ["champion"])
    assert card.accuracy is not None
    assert card.accuracy.accuracy == pytest.approx(94 / 110)
    assert card.accuracy.low < card.accuracy.accuracy < card.accuracy.high
    assert card.accuracy.before == 0.5
    assert [(share.name, share.rows) for share in card.weakest] == [("rare", 10), ("good", 100)]
    assert [share.name for share in card.slices] == ["region south", "region north"]
    assert any("1 labels have fewer than 30 rows" in limit for limit in card.limits)
    assert (card.approval.gate, card.approval.standing) == ("passed on holdout_gain", "approved")
    assert card.approval.signatures[0].reason == "read it"
    assert (card.cost.energy_kwh, card.cost.carbon_g) == (None, None)
    told = await service.http.get("/v1/models/champion/card.md")
    assert (told.status_code, told.headers["content-type"]) == (200, "text/markdown; charset=utf-8")
    assert told.text == markdown_of(card)
    for words in ("## Intended use", "with people who correct it", "85.45% of 110 held-out rows", "approve, read it"):
        assert words in told.text


async def test_a_first_version_has_a_card_without_slices(service: Service) -> None:
    card = ModelCard.model_validate_json((await service.http.get("/v1/models/v1/card")).content)
    assert (card.slices, card.approval.gate) == ([], None)
    assert "Gate: not asked" in markdown_of(card)


async def test_what_a_second_costs_comes_from_the_settings(start: Start) -> None:
    changed: dict[str, object] = {"card_watts": 100.0, "card_grams_per_kwh": 400.0, "card_intended_use": "Sorting *our* mail."}
    async with start(changed=changed) as service:
        card = card_of(service.parts.registry, "v1", service.parts.settings)
    energy = card.lineage.train_s * 100 / 3_600_000
    assert card.cost.energy_kwh == pytest.approx(energy)
    assert card.cost.carbon_g == pytest.approx(400 * energy)
    assert r"Sorting \*our\* mail." in markdown_of(card)


async def test_a_hostile_name_is_only_a_name(service: Service) -> None:
    register_ngram_bundle(service.parts.registry, seed=3, decision=_decision("<script>|[x](javascript:y)\n# big"))
    text = (await service.http.get("/v1/models/v2/card.md")).text
    assert "<script>" not in text
    assert "\n# big" not in text
    assert json.loads((await service.http.get("/v1/models/v2/card")).text)["slices"][1]["name"].startswith("<script>")


async def test_a_version_that_is_not_there_has_none(service: Service) -> None:
    for end in ("card", "card.md"):
        answer = await service.http.get(f"/v1/models/v9/{end}")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_version")
