"""`hone train` and `hone evaluate` on a small file: what they print, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.bundle import CARD
from core.finetuning import finetuning, recorded
from core.registry import Registry
from core.settings import Settings
from tests.deploy.conftest import RunHone
from tests.train.toys import write_toy_base

GOOD = ("solid", "lovely", "bright", "quiet", "sturdy", "handy")
BAD = ("broken", "ugly", "noisy", "flimsy", "late", "dull")
THINGS = [
    "phone",
    "lamp",
    "chair",
    "kettle",
    "bag",
    "radio",
    "clock",
    "shirt",
    "watch",
    "mouse",
    "cable",
    "table",
    "mug",
    "fan",
    "pen",
    "desk",
    "coat",
    "drill",
    "rug",
    "bowl",
]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Give a CSV of short reviews, one row of which has no text."""
    rows = [
        f"a {word} {thing},{label}" for label, words in (("good", GOOD), ("bad", BAD)) for word in words for thing in THINGS
    ]
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["text,label", *rows, ",good"]), encoding="utf-8")
    return path


def test_a_file_becomes_a_version_that_answers(hone: RunHone, settings: Settings, reviews: Path) -> None:
    result = hone("train", "--data", str(reviews), "--features", "ngrams")
    assert result.exit_code == 0, result.stderr
    for said in ("241 rows, 2 labels", "ngrams", "gate: passed", "v1: accuracy", "it is the champion now"):
        assert said in result.stdout
    assert Registry(settings.home.registry).aliases().champion == "v1"
    report = json.loads(hone("evaluate", str(reviews), "--json", "--split", "test").stdout)
    assert (report["version"], report["split"]) == ("v1", "test")
    assert report["metrics"]["accuracy"] > 0.9
    assert "accuracy" in hone("evaluate", str(reviews)).stdout
    assert json.loads(hone("predict", "--json", "a lovely mug").stdout)["label"] == "good"


def test_without_promotion_it_waits_as_challenger(hone: RunHone, settings: Settings, reviews: Path) -> None:
    report = json.loads(hone("train", "--data", str(reviews), "--features", "ngrams", "--no-promote", "--json").stdout)
    aliases = Registry(settings.home.registry).aliases()
    assert (report["promoted"], aliases.champion, aliases.challenger) == (False, None, "v1")


@pytest.mark.parametrize(
    ("content", "said"), [("words,mood\na,b\n", "text"), ("text,label\na,x\nb,x\n", "needs two"), ("", "reviews.csv")]
)
def test_a_file_that_cannot_teach_is_refused_in_one_sentence(
    hone: RunHone, settings: Settings, reviews: Path, content: str, said: str
) -> None:
    reviews.write_text(content, encoding="utf-8")
    result = hone("train", "--data", str(reviews), "--features", "ngrams")
    assert (result.exit_code, result.stdout) == (1, "")
    sentence = result.stderr.splitlines()[-1]
    assert sentence.startswith("hone: ")
    assert said in sentence
    assert Registry(settings.home.registry).versions() == []


def test_a_file_that_is_not_there_is_refused(hone: RunHone, tmp_path: Path) -> None:
    result = hone("train", "--data", str(tmp_path / "none.csv"))
    assert result.exit_code == 1
    assert "none.csv" in result.stderr


def test_the_share_that_only_chooses_can_be_said(hone: RunHone, settings: Settings, reviews: Path) -> None:
    command = ("train", "--data", str(reviews), "--features", "ngrams", "--json", "--validation")
    splits = json.loads(hone(*command, "0.4").stdout)["data"]["splits"]
    assert splits["validation"] / (splits["validation"] + splits["train"]) == pytest.approx(0.4, abs=0.1)
    refused = hone(*command, "0.9")
    assert refused.exit_code == 1
    assert "at most 0.5 is allowed" in refused.stderr


def test_folds_measure_a_way_of_teaching_and_register_nothing(hone: RunHone, settings: Settings, reviews: Path) -> None:
    result = hone("train", "--data", str(reviews), "--features", "ngrams", "--folds", "3")
    assert result.exit_code == 0, result.output
    assert "3 folds" in result.stdout
    assert Registry(settings.home.registry).versions() == []
    report = json.loads(hone("train", "--data", str(reviews), "--features", "ngrams", "--folds", "3", "--json").stdout)
    assert [fold["chosen"] for fold in report["folds"]] == ["ngrams"] * 3
    assert report["metrics"]["accuracy"]["mean"] > 0.8
    assert hone("train", "--data", str(reviews), "--folds", "1").exit_code == 2


def test_a_full_report_is_a_page_and_json(hone: RunHone, settings: Settings, reviews: Path, tmp_path: Path) -> None:
    assert hone("train", "--data", str(reviews), "--features", "ngrams").exit_code == 0
    result = hone("evaluate", str(reviews), "--out", str(tmp_path / "report"))
    assert result.exit_code == 0, result.output
    assert "rows were left out" in result.stdout
    assert "the linear floor has" in result.stdout
    assert (tmp_path / "report" / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    found = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert found["version"] == "v1"
    assert found["floor"]["gain"]["value"] == 0.0, "n-grams are the floor"
    out, scope = ["--out", str(tmp_path)], ["--out-of-scope", "none"]
    for wrong in (
        ["--slice-by", "label"],
        [*out, "--compare-with", "torch"],
        [*out, "--in-scope-accuracy", "0.9"],
        [*out, *scope, "--in-scope-accuracy", "0.9", "--out-of-scope-recall", "0.6"],
    ):
        assert hone("evaluate", str(reviews), *wrong).exit_code == 2


def test_rows_are_weighed_where_that_is_asked_for(hone: RunHone, settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = [f"a {('good', 'bad')[n % 2]} thing {n},{('yes', 'no')[n % 2]},{('north', 'south')[n % 3 == 0]}" for n in range(200)]
    path.write_text("\n".join(["text,label,region", *rows]), encoding="utf-8")
    result = hone("train", "--data", str(path), "--features", "ngrams", "--balance", "0.5", "--reweigh", "region")
    assert result.exit_code == 0, result.output
    assert hone("train", "--data", str(path), "--balance", "2").exit_code == 2


def test_a_version_says_how_its_encoder_was_trained(hone: RunHone, settings: Settings, reviews: Path, tmp_path: Path) -> None:
    base = write_toy_base(tmp_path / "toy")
    way = [
        "--base",
        str(base),
        "--speed",
        "full",
        "--preset",
        "fast",
        "--set",
        "learning_rate=1e-3",
        "--set",
        "schedule=cosine",
    ]
    result = hone("train", "--data", str(reviews), *way, "--seed", "3")
    assert result.exit_code == 0, result.output
    manifest = Registry(settings.home.registry).manifest("v1")
    trained = recorded(manifest.lineage.settings)
    # What was decided on the way, the precision, is part of it.
    assert trained is not None
    assert replace(trained, precision=None) == finetuning("fast", {"learning_rate": 1e-3, "schedule": "cosine", "seed": 3})
    # The card is wrapped, and escapes what Markdown would read.
    said = " ".join(hone("models", "card", "v1").stdout.replace("\\", "").split())
    assert f"trained with the settings {trained}" in said
    assert f"`{trained}`" in (Registry(settings.home.registry).path("v1") / CARD).read_text(encoding="utf-8")
    for wrong in (["--preset", "fast"], ["--speed", "full", "--set", "epochs=0"], ["--speed", "full", "--preset", "slow"]):
        assert hone("train", "--data", str(reviews), *wrong).exit_code == 2
