"""The doctor: what it finds wrong, and that it says how to mend it."""

from __future__ import annotations

import json
import shutil
import socket

from core.registry import Registry
from core.settings import Settings
from deploy.doctor import Check, examine
from tests.deploy.conftest import RunHone


def found(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in examine(settings)}


def test_a_fresh_home_is_well(hone: RunHone) -> None:
    result = hone("doctor")
    assert result.exit_code == 0
    assert "broken" not in result.stdout


def test_a_champion_is_verified_and_its_engine_explained(settings: Settings, registry: Registry) -> None:
    checks = found(settings)
    assert checks["champion"].found.startswith("v1 verifies")
    assert "no encoder" in checks["engine"].found
    assert registry.aliases().champion == "v1"


def test_an_altered_champion_is_broken(hone: RunHone, registry: Registry) -> None:
    (registry.path("v1") / "card.md").write_text("altered")
    result = hone("doctor", "--json")
    champion = next(check for check in json.loads(result.stdout) if check["name"] == "champion")
    assert result.exit_code == 1
    assert champion["verdict"] == "broken"
    assert "rollback" in champion["mend"]


def test_half_a_version_is_found_and_left_alone(settings: Settings, registry: Registry) -> None:
    half = registry.root / "versions" / "v7"
    half.mkdir()
    assert "v7" in found(settings)["registry"].found
    assert half.is_dir()


def test_an_alias_that_names_nothing_is_found(settings: Settings, registry: Registry) -> None:
    shutil.rmtree(registry.path("v1"))
    assert "alias champion" in found(settings)["registry"].found


def test_a_port_somebody_else_has_is_broken(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", settings.port))
        other.listen()
        check = found(settings)["port"]
    assert check.verdict == "broken"
    assert "HONE_PORT" in str(check.mend)


def test_a_store_that_does_not_answer_is_broken(settings: Settings) -> None:
    (settings.home.root / "file").write_text("")
    away = settings.model_copy(update={"store_url": f"sqlite:///{settings.home.root}/file/feedback.db"})
    assert found(away)["store"].verdict == "broken"


def test_a_home_that_cannot_be_written_is_broken(settings: Settings) -> None:
    blocked = settings.home.root / "file"
    blocked.write_text("")
    assert found(settings.model_copy(update={"home_dir": blocked / "home"}))["home"].verdict == "broken"
