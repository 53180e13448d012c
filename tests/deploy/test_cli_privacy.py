"""`hone privacy` and `hone trail`, on the state folder itself."""

from __future__ import annotations

import json

from core.schemas import CorrectionRequest
from core.settings import Settings
from feedback.store import Store
from tests.deploy.conftest import RunHone


def test_a_person_is_exported_and_erased_and_the_trail_tells(hone: RunHone, settings: Settings) -> None:
    store = Store.of(settings)
    store.add_correction(CorrectionRequest(text="hers", label="positive", subject="ada"))
    store.add_correction(CorrectionRequest(text="his", label="positive", subject="ben"))
    store.close()
    told = [json.loads(line) for line in hone("privacy", "export", "--subject", "ada").stdout.splitlines()]
    assert [line["text"] for line in told] == ["hers"]
    erased = json.loads(hone("privacy", "erase", "--subject", "ada", "--json").stdout)
    assert (erased["counts"]["corrections"], erased["complete"]) == (1, True)
    assert "versions that had learned from it: none" in hone("privacy", "erase", "--text", "his").stdout
    assert hone("privacy", "export", "--subject", "ben").stdout == ""
    actions = [entry["action"] for entry in json.loads(hone("trail", "list", "--json").stdout)]
    assert actions == ["export subject", "erase", "erase", "export subject"]
    assert "4 entries" in hone("trail", "verify").stdout
    assert "erase" in hone("trail", "list").stdout


def test_a_broken_promise_ends_with_1(hone: RunHone) -> None:
    result = hone("trail", "verify", "--hash", "f" * 64)
    assert result.exit_code == 1
    assert "cut" in result.stderr
    assert hone("privacy", "erase").exit_code == 2
