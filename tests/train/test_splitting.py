"""Dividing files: labels alike, groups whole, time in order; equal texts never on both sides."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from core.errors import DataError
from core.text import text_key
from train.splitting import SplitRequest, Way, split_file


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give 200 rows of two labels, 40 customers, a day each, and some texts twice."""
    rows = [
        {
            "text": f"text {n % 190}",
            "label": "rare" if n % 190 % 10 == 0 else "common",
            "customer": f"c{n % 40}",
            "day": f"2026-{1 + n // 28:02d}-{1 + n % 28:02d}",
            "note": n,
        }
        for n in range(200)
    ]
    path = tmp_path / "rows.parquet"
    pd.DataFrame(rows).sample(frac=1, random_state=0).to_parquet(path)
    return path


def _splits_by(frame: pd.DataFrame, column: str) -> list[set[str]]:
    return [set(part) for _, part in frame.groupby(column)["split"]]


@pytest.mark.parametrize(("way", "column"), [("stratified", None), ("grouped", "customer"), ("time", "day")])
def test_parts_have_their_share_and_no_text_stands_in_two(data: Path, tmp_path: Path, way: Way, column: str | None) -> None:
    report = split_file(SplitRequest(data, way, column), tmp_path / "out.parquet")
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert sum(report.rows.values()) == len(frame) == 200
    assert set(frame.columns) == {"text", "label", "customer", "day", "note", "split"}
    assert report.rows["test"] == pytest.approx(40, abs=10)
    assert report.rows["validation"] == pytest.approx(20, abs=10)
    frame["key"] = [text_key(text) for text in frame["text"]]
    assert all(len(splits) == 1 for splits in _splits_by(frame, "key"))


def test_stratified_gives_each_part_the_same_labels(data: Path, tmp_path: Path) -> None:
    split_file(SplitRequest(data), tmp_path / "out.csv")
    frame = pd.read_csv(tmp_path / "out.csv").drop_duplicates("text")
    shares = frame.groupby("split")["label"].apply(lambda labels: (labels == "rare").mean())
    assert shares.max() - shares.min() < 0.04


def test_grouped_keeps_groups_whole(data: Path, tmp_path: Path) -> None:
    # Texts that two customers share join them, so the groups are fewer than the customers.
    report = split_file(SplitRequest(data, "grouped", "customer"), tmp_path / "out.jsonl")
    frame = pd.read_json(tmp_path / "out.jsonl", lines=True)
    assert all(len(splits) == 1 for splits in _splits_by(frame, "customer"))
    assert report.groups == 30


def test_time_trains_on_the_oldest(data: Path, tmp_path: Path) -> None:
    report = split_file(SplitRequest(data, "time", "day", test_ratio=0.25, validation_ratio=0.0), tmp_path / "out.tsv")
    frame = pd.read_csv(tmp_path / "out.tsv", sep="\t").sort_values("day").drop_duplicates("text", keep="first")
    assert "validation" not in report.rows
    assert report.until is not None
    assert report.until["test"].startswith("2026-07-22")
    assert report.until["train"][:10] == frame[frame["split"] == "train"]["day"].max()
    assert frame[frame["split"] == "train"]["day"].max() < frame[frame["split"] == "test"]["day"].min()


def test_the_same_seed_gives_the_same_parts(data: Path, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        split_file(SplitRequest(data, seed=3), tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    split_file(SplitRequest(data, seed=4), tmp_path / "c.csv")
    assert (tmp_path / "a.csv").read_bytes() != (tmp_path / "c.csv").read_bytes()


def test_a_label_with_one_text_stays_in_training(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pd.DataFrame({"text": [f"t{n}" for n in range(41)], "label": ["a", "b"] * 20 + ["lone"]}).to_csv(path, index=False)
    split_file(SplitRequest(path), tmp_path / "out.csv")
    frame = pd.read_csv(tmp_path / "out.csv")
    assert frame[frame["label"] == "lone"]["split"].tolist() == ["train"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"way": "grouped"}, "no single column None"),
        ({"way": "grouped", "column": "shop"}, "it has: text, label"),
        ({"way": "time", "column": "label"}, "no time in 200 rows"),
        ({"test_ratio": 0.6, "validation_ratio": 0.4}, "less than 1"),
        ({"way": "grouped", "column": "label"}, "are needed"),
        ({"test_ratio": 0.001, "validation_ratio": 0.0}, "too few"),
    ],
)
def test_what_cannot_be_divided_is_refused(data: Path, tmp_path: Path, request_: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        split_file(SplitRequest(data, **request_), tmp_path / "out.csv")  # type: ignore[arg-type] # one field each
    assert not (tmp_path / "out.csv").exists()


def test_another_ending_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.xlsx; written are"):
        split_file(SplitRequest(data), tmp_path / "out.xlsx")
