"""`hone ensemble` through the command line: versions that go together, and such as do not."""

from __future__ import annotations

import json
from pathlib import Path

from core.registry import Registry
from core.settings import Settings
from tests.deploy.conftest import RunHone
from tests.train.toys import toy_rows, write_csv, write_toy_base


def test_one_version_is_made_of_two(hone: RunHone, settings: Settings, tmp_path: Path) -> None:
    data, base = write_csv(tmp_path / "toy.csv", toy_rows()), write_toy_base(tmp_path / "toy")
    for features in ("both", "ngrams"):
        result = hone("train", "--data", str(data), "--base", str(base), "--features", features)
        assert result.exit_code == 0, result.output
    refused = hone("ensemble", "v1", "v2")
    assert refused.exit_code == 1
    assert "v1 keeps no encoder that was trained" in refused.stderr
    made = hone("ensemble", "v1", "v2", "--how", "distill", "--no-promote", "--json")
    assert made.exit_code == 0, made.output
    report = json.loads(made.stdout)
    assert (report["version"], [member["version"] for member in report["members"]]) == ("v3", ["v1", "v2"])
    assert Registry(settings.home.registry).aliases().champion == "v1"
    shown = hone("models", "card", "v3")
    assert "taught what v1, v2 say together" in shown.stdout


def test_one_version_alone_is_refused_in_one_sentence(hone: RunHone, registry: Registry) -> None:
    result = hone("ensemble", "v1", "v1")
    assert result.exit_code == 1
    assert "two versions or more" in result.stderr


def test_several_trainings_become_one_version_that_serves(hone: RunHone, settings: Settings, tmp_path: Path) -> None:
    data, base = write_csv(tmp_path / "toy.csv", toy_rows()), write_toy_base(tmp_path / "toy")
    told = ["--data", str(data), "--base", str(base), "--speed", "full", "--features", "encoder"]
    tuning = ["epochs=20", "patience_epochs=6", "learning_rate=3e-3", "batch_texts=8", "precision=fp32"]
    made = hone("train", *told, *(word for pair in tuning for word in ("--set", pair)), "--members", "2", "--json")
    assert made.exit_code == 0, made.output
    report = json.loads(made.stdout)
    assert (report["version"], report["how"], report["promoted"]) == ("v3", "soup", True)
    assert [(member["version"], member["used"]) for member in report["members"]] == [("v1", True), ("v2", True)]
    registry = Registry(settings.home.registry)
    assert [registry.manifest(version).lineage.seed for version in ("v1", "v2")] == [0, 1]
    assert registry.aliases().champion == "v3"


def test_members_are_trained_at_full_speed_and_not_in_folds(hone: RunHone, settings: Settings, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "toy.csv", toy_rows())
    head = hone("train", "--data", str(data), "--members", "2")
    assert head.exit_code == 1
    assert "two trainings or more at full speed; asked for: 2 at head" in head.stderr
    base = write_toy_base(tmp_path / "toy")
    ngrams = hone("train", "--data", str(data), "--base", str(base), "--speed=full", "--features=ngrams", "--members", "3")
    assert ngrams.exit_code == 1
    assert "v1 keeps no encoder that was trained" in ngrams.stderr
    assert list(Registry(settings.home.registry).decisions()) == ["v1"]
    folds = hone("train", "--data", str(data), "--speed", "full", "--members", "2", "--folds", "3")
    assert folds.exit_code == 1
    assert "leave --members out" in folds.stderr
