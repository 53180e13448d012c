"""What a candidate costs: growth counts, the parity that decides between engine variants does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from core.bundle import MANIFEST, read_manifest
from core.settings import Settings
from train.expense import latency_ratio, size_ratio


def _beside(folder: Path, copy: Path, **changes: object) -> Path:
    shutil.copytree(folder, copy)
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["encoder"] |= changes
    (copy / MANIFEST).write_text(json.dumps(manifest))
    return copy


def test_who_has_the_same_encoder_is_as_fast_whichever_variant_parity_left(taught: Settings, tmp_path: Path) -> None:
    champion = taught.home.registry / "versions" / "v1"
    spec = read_manifest(champion).encoder
    assert spec is not None
    other = next(variant for variant in spec.variants if variant != spec.serving)
    candidate = _beside(champion, tmp_path / "same", serving=other)
    assert latency_ratio(champion, candidate, ["a card", "my phone"]) == 1.0
    assert size_ratio(champion, candidate) < 1.1


def test_another_encoder_is_timed_with_the_variant_of_the_champion(taught: Settings, tmp_path: Path) -> None:
    champion = taught.home.registry / "versions" / "v1"
    candidate = _beside(champion, tmp_path / "other", weights_sha256="f" * 64)
    ratio = latency_ratio(champion, candidate, ["a card", "my phone"] * 20)
    assert ratio is not None
    assert ratio > 0.0
    assert latency_ratio(champion, candidate, []) is None
