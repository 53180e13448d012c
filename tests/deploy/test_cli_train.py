"""`hone train` and `hone evaluate` on a small file: what they print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.registry import Registry
from core.settings import Settings
from tests.deploy.conftest import RunHone

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
