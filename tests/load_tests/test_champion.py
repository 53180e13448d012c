"""What the load tests measure is taught by the command a person would use."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from core.bundle import read_manifest
from load_tests.servers import ensure_champion
from load_tests.traffic import SAMPLE


def test_a_champion_is_taught_from_a_file_and_only_once(tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    pd.read_csv(SAMPLE).groupby("label").head(250).to_csv(data, index=False)
    champion = ensure_champion(tmp_path / "home", data)
    manifest = read_manifest(champion)
    assert manifest.features == "both"
    assert manifest.lineage.speed == "head"
    assert ensure_champion(tmp_path / "home", None) == champion
