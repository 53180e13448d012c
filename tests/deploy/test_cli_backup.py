"""The disaster drill: everything is deleted, and comes back as it was; and what the two commands say."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from filelock import FileLock

from core.registry import Registry
from core.settings import Settings
from tests.bundles import register_ngram_bundle
from tests.deploy.conftest import RunHone, serving

TEXTS = ["so positive", "very negative", "quite neutral", "this was corrected", "还不错 neutral", "nothing it knows"]
_KEPT = ("label", "score", "scores", "model_version", "source")


def _answers(url: str) -> list[dict[str, Any]]:
    answers = httpx.post(f"{url}/v1/predict", json={"texts": TEXTS}).json()["predictions"]
    return [{name: answer[name] for name in _KEPT} for answer in answers]


def _corrections(url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{url}/v1/corrections", params={"limit": 500}).json()["corrections"]
    return found


def _wait_for_memory(url: str) -> None:
    for _ in range(400):
        if _answers(url)[3]["source"] == "memory":
            return
        threading.Event().wait(0.05)
    raise AssertionError("the memory does not answer")


def test_after_a_disaster_the_same_answers_the_same_corrections_and_a_whole_trail(
    hone: RunHone, settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    registry.promote(register_ngram_bundle(registry, seed=1), by="test", why="another")
    archive = tmp_path / "backup.tar.gz"
    with serving(settings):
        answer = httpx.post(f"{settings.url}/v1/predict", json={"text": "so positive"}).json()
        sent = {"prediction_id": answer["prediction_id"], "label": "positive"}
        first = httpx.post(f"{settings.url}/v1/corrections", json=sent, headers={"Idempotency-Key": "k"}).json()
        httpx.post(f"{settings.url}/v1/corrections", json={"text": TEXTS[3], "label": "neutral", "annotator": "ada"})
        httpx.post(f"{settings.url}/v1/rollback", json={})
        httpx.post(f"{settings.url}/v1/rollback", json={})
        _wait_for_memory(settings.url)
        assert hone("keys", "create", "--role", "predict", "--name", "shop").exit_code == 0
        answers, corrections = _answers(settings.url), _corrections(settings.url)
        made = hone("backup", str(archive), "--json")
        assert made.exit_code == 0, made.stderr
        noted = json.loads(made.stdout)["trail"]
    keys = settings.home.keys.read_bytes()

    shutil.rmtree(settings.home.root)
    restored = hone("restore", str(archive), "--json")
    assert restored.exit_code == 0, restored.stderr
    assert json.loads(restored.stdout)["champion"] == "v2"

    with serving(settings):
        _wait_for_memory(settings.url)
        assert _answers(settings.url) == answers
        assert _corrections(settings.url) == corrections
        again = httpx.post(f"{settings.url}/v1/corrections", json=sent, headers={"Idempotency-Key": "k"}).json()
        assert again["correction_id"] == first["correction_id"]
        assert len(_corrections(settings.url)) == len(corrections) == 2
    assert settings.home.keys.read_bytes() == keys
    proof = json.loads(hone("trail", "verify", "--hash", noted["last_hash"], "--json").stdout)
    assert proof["entries"] == noted["entries"] + 1
    newest = json.loads(hone("trail", "list", "--limit", "2", "--json").stdout)
    assert [entry["action"] for entry in newest] == ["restore", "backup"]
    assert hone("models", "rollback").exit_code == 0
    assert registry.aliases().champion == "v1"


@pytest.mark.usefixtures("registry")
def test_what_is_there_is_not_overwritten_unless_it_is_said(hone: RunHone, settings: Settings, tmp_path: Path) -> None:
    archive = tmp_path / "backup.tar.gz"
    assert "champion v1" in hone("backup", str(archive)).stdout
    refused = hone("restore", str(archive))
    assert refused.exit_code == 1
    assert "pass --overwrite" in refused.stderr
    done = hone("restore", str(archive), "--overwrite")
    assert "champion v1" in done.stdout
    (aside,) = settings.home.root.glob("replaced-*")
    assert str(aside) in done.stderr.replace("\n", "")
    assert hone("predict", "positive").exit_code == 0


@pytest.mark.usefixtures("registry")
def test_a_backup_is_named_by_its_time_and_never_written_over(
    hone: RunHone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hone("backup").exit_code == 0
    (made,) = tmp_path.glob("hone-*.tar.gz")
    assert "name another file" in hone("backup", str(made)).stderr


@pytest.mark.usefixtures("registry")
def test_an_archive_can_be_checked_without_restoring_it(hone: RunHone, tmp_path: Path) -> None:
    archive = tmp_path / "backup.tar.gz"
    hone("backup", str(archive))
    assert "is whole" in hone("restore", "--check", str(archive)).stdout
    assert json.loads(hone("restore", "--check", "--json", str(archive)).stdout)["champion"] == "v1"
    archive.write_bytes(archive.read_bytes()[:-100])
    damaged = hone("restore", "--check", str(archive))
    assert damaged.exit_code == 1
    assert damaged.stderr.startswith("hone: backup.tar.gz ")


@pytest.mark.usefixtures("registry")
def test_nothing_is_restored_under_a_running_stack(hone: RunHone, settings: Settings, tmp_path: Path) -> None:
    archive = tmp_path / "backup.tar.gz"
    hone("backup", str(archive))
    with FileLock(settings.home.lock):
        refused = hone("restore", str(archive), "--overwrite")
    assert refused.exit_code == 1
    assert "already runs" in refused.stderr
