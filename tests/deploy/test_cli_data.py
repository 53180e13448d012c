"""`hone data report` and `hone data split`, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.deploy.conftest import RunHone


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    rows = [f"a {word} thing number {n},{label}" for n in range(20) for word, label in (("good", "yes"), ("bad", "no"))]
    path.write_text("\n".join(["text,label", *rows, ",yes"]), encoding="utf-8")
    return path


def test_a_report_is_shown_printed_and_drawn(hone: RunHone, reviews: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = hone("data", "report", str(reviews), "--out", str(page))
    assert result.exit_code == 0, result.output
    for said in ("41 rows, 2 labels", "1 × empty text", "unknown tokens"):
        assert said in result.stdout
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    found = json.loads(hone("data", "report", str(reviews), "--json").stdout)
    assert sum(part["rows"] for part in found["parts"]) == 40


def test_a_divided_file_is_one_that_train_honours(hone: RunHone, reviews: Path, tmp_path: Path) -> None:
    out = tmp_path / "divided.csv"
    result = hone("data", "split", str(reviews), "--out", str(out), "--test", "0.25")
    assert result.exit_code == 0, result.output
    found = json.loads(hone("data", "report", str(out), "--json").stdout)
    assert found["cleaning"]["split_from"] == "column"
    assert found["cleaning"]["splits"]["test"] == 11, "a quarter of 41 rows, one of them without text"


def test_what_is_wrong_is_one_sentence(hone: RunHone, reviews: Path, tmp_path: Path) -> None:
    result = hone("data", "split", str(reviews), "--out", str(tmp_path / "a.csv"), "--by", "time")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("hone: ")
    assert hone("data", "report", str(tmp_path / "none.csv")).exit_code == 1
