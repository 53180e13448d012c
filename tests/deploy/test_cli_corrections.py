"""Corrections in and out of files and decisions about labels, through a service and without one."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedback.importing import read_corrections
from tests.deploy.conftest import RunHone

AWKWARD = 'a "quoted", text\r\nof 两行 😀'
ROWS: list[dict[str, Any]] = [
    {
        "text": 'a "quoted", text\r\nof 两行 😀',
        "label": "neutral",
        "annotator": "ann",
        "confidence": 0.5,
        "metadata": '{"a": 1}',
    },
    {"text": "b", "label": "Positiv", "annotator": None, "confidence": None, "metadata": None},
    {"text": "c", "label": "positive", "annotator": None, "confidence": None, "metadata": None},
]


def _write(folder: Path, kind: str) -> Path:
    path = folder / f"rows{kind}"
    if kind in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, ROWS[0], delimiter="\t" if kind == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(ROWS)
    elif kind == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in ROWS), encoding="utf-8")
    elif kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        names = sorted({row["label"] for row in ROWS})
        made = datasets.Dataset.from_list(ROWS).cast_column("label", datasets.ClassLabel(names=names))
        datasets.DatasetDict({"train": made}).save_to_disk(str(path))
    return path


@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl", ".parquet", ""])
def test_every_format_is_read_alike(tmp_path: Path, kind: str) -> None:
    expected = [{name: value for name, value in row.items() if value is not None} for row in ROWS]
    expected[0]["metadata"] = {"a": 1}
    assert list(read_corrections(_write(tmp_path, kind))) == expected


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.xml", "<a/>", "has the ending .xml"),
        ("a.csv", "text,category\na,b\n", "needs a column label"),
        ("a.csv", 'text,label\n"a,b\n', "cannot be read"),
        ("a.csv", "text,label\nsecret,b,c\n", "more cells"),
        ("a.jsonl", '{"text": "a", "label": "b"}\nsecret\n', "no JSON in line 2"),
        ("a.jsonl", "[]\n", "no JSON object in line 1"),
        ("a.parquet", "secret", "cannot be read"),
        ("a.csv", "text,label,confidence\na,b,secret\n", "row 1"),
    ],
)
def test_broken_files_are_named_and_not_quoted(hone: RunHone, tmp_path: Path, name: str, content: str, says: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    result = hone("corrections", "import", str(path))
    assert result.exit_code == 1
    assert says in result.stderr
    assert "secret" not in result.stderr.replace(str(path), "")


@pytest.mark.usefixtures("registry")
def test_files_go_in_and_out_without_a_service(hone: RunHone, tmp_path: Path) -> None:
    _check_round_trip(hone, tmp_path)


@pytest.mark.usefixtures("service")
def test_files_go_in_and_out_through_the_service(hone: RunHone, tmp_path: Path) -> None:
    _check_round_trip(hone, tmp_path)


def _check_round_trip(hone: RunHone, folder: Path) -> None:
    result = hone("corrections", "import", str(_write(folder, ".jsonl")))
    assert result.exit_code == 1
    assert "row 2: label is not one of the 3 known labels; nearest: positive" in result.stderr
    assert "2 kept, 0 were there already, 1 refused" in result.stderr
    for name in ("out.csv", "out.jsonl", "out.parquet", "out"):
        assert hone("corrections", "export", str(folder / name)).exit_code == 0
        rows = list(read_corrections(folder / name))
        assert [row["text"] for row in rows] == [ROWS[0]["text"], ROWS[2]["text"]]
        assert [row["label"] for row in rows] == ["neutral", "positive"]
        assert rows[0]["metadata"] == {"a": 1}
        assert all(row["key"].startswith("import:c_") for row in rows)
    assert hone("corrections", "export", str(folder / "out.csv")).exit_code == 1
    shown = [json.loads(line) for line in hone("corrections", "export").stdout.splitlines()]
    assert len(shown) == 2
    again = hone("corrections", "import", str(folder / "out.parquet"), "--json")
    twice = hone("corrections", "import", str(folder / "out.csv"), "--json")
    assert [again.exit_code, twice.exit_code] == [0, 0]
    assert [json.loads(line)["status"] for line in again.stdout.splitlines()] == ["kept", "kept"]
    assert [json.loads(line)["status"] for line in twice.stdout.splitlines()] == ["repeated", "repeated"]


@pytest.mark.usefixtures("registry")
def test_labels_are_decided_about_without_a_service(hone: RunHone) -> None:
    _check_labels(hone)


@pytest.mark.usefixtures("service")
def test_labels_are_decided_about_through_the_service(hone: RunHone) -> None:
    _check_labels(hone)


def _check_labels(hone: RunHone) -> None:
    assert hone("labels", "accept", "mixed", "--why", "asked for").exit_code == 0
    assert "decided: rename positive into good" in hone("labels", "rename", "positive", "good").stdout
    assert hone("labels", "merge", "mixed", "neutral").exit_code == 0
    assert hone("labels", "retire", "nothing").exit_code == 1
    assert hone("labels", "reject", "good").exit_code == 1
    listed = json.loads(hone("labels", "list", "--json").stdout)
    states = {item["label"]: (item["state"], item["stands_for"]) for item in listed["labels"]}
    assert states["positive"] == ("replaced", "good")
    assert states["mixed"] == ("replaced", "neutral")
    assert "needs 5 texts of 2 annotators" in hone("labels", "list").stderr


@pytest.mark.usefixtures("service")
def test_a_correction_is_changed_and_taken_back(hone: RunHone) -> None:
    first = json.loads(hone("correct", "neutral", "--text", "a", "--json").stdout)["correction_id"]
    second = json.loads(hone("corrections", "change", first, "positive", "--json").stdout)
    assert second["replaces"] == first
    assert "took back" in hone("corrections", "withdraw", second["correction_id"], "--why", "a slip").stdout
    assert hone("corrections", "withdraw", "c_nowhere").exit_code == 1
