"""`hone models card`, asked of the state folder and of a running service, and by the Python client."""

from __future__ import annotations

import json

from core.registry import Registry
from core.settings import Settings
from deploy.client import ServiceClient
from tests.deploy.conftest import RunHone


def test_a_card_is_printed_as_markdown_and_as_json(hone: RunHone, registry: Registry) -> None:
    result = hone("models", "card", "champion", "--local")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# Model card: v1\n")
    assert json.loads(hone("models", "card", "v1", "--json", "--local").stdout)["version"] == "v1"
    missing = hone("models", "card", "v9", "--local")
    assert (missing.exit_code, missing.stdout) == (1, "")


def test_the_service_tells_the_same(hone: RunHone, service: Settings) -> None:
    assert hone("models", "card", "v1").stdout == hone("models", "card", "v1", "--local").stdout
    assert ServiceClient(service).card().version == "v1"
