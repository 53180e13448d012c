"""`hone compress` on a version that was taught from a toy encoder, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

from core.registry import Registry
from core.settings import Settings
from tests.deploy.conftest import RunHone
from tests.train.toys import toy_rows, write_csv, write_toy_base


def test_a_version_is_measured_made_smaller_and_waits(hone: RunHone, settings: Settings, tmp_path: Path) -> None:
    data, base = write_csv(tmp_path / "toy.csv", toy_rows()), write_toy_base(tmp_path / "toy")
    taught = hone("train", "--data", str(data), "--base", str(base), "--features", "both")
    assert taught.exit_code == 0, taught.output
    result = hone("compress", "--recipe", "vocabulary", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    for said in ("as it is", "vocabulary", "times torch fp32"):
        assert said in result.stdout
    assert (tmp_path / "out" / "compress.html").read_text(encoding="utf-8").count("<svg") == 3
    registry = Registry(settings.home.registry)
    assert registry.versions() == ["v1"], "what is only measured is not registered"
    chosen = hone("compress", "--recipe", "vocabulary", "--choose", "vocabulary", "--json")
    assert chosen.exit_code == 0, chosen.output
    report = json.loads(chosen.stdout)
    assert (report["registered"], registry.aliases().champion) == ("v2", "v1")
    assert json.loads(hone("evaluate", str(data), "--version", "v2", "--json").stdout)["metrics"]["accuracy"] > 0.8


def test_what_cannot_be_made_smaller_is_told_in_one_sentence(hone: RunHone, registry: Registry) -> None:
    for arguments, said in ((["--recipe", "int4"], "parts are"), ([], "no encoder"), (["v9"], "no such version")):
        result = hone("compress", *arguments)
        assert result.exit_code == 1, result.output
        assert said in result.stderr
