"""Files as people have them: many formats, columns under many names, and refusals that name the file and what is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import pandas as pd
import pytest

from core.errors import DataError
from train.reading import Table, read_table

_ROWS = [
    ("很好，喜欢", "positive"),
    ('says "no", loudly', "negative"),
    ("a\u2028b\x85c\x0bd", "positive"),
    ("two\nlines", "negative"),
]


def _frame() -> pd.DataFrame:
    return pd.DataFrame(_ROWS, columns=["text", "label"])


def _pairs(table: Table) -> list[tuple[str, str]]:
    return list(zip(table.frame[table.text], table.frame[table.label], strict=True))


def _separated(separator: str) -> Callable[[Path], None]:
    return lambda path: _frame().to_csv(path, sep=separator, index=False)


def _json_lines(path: Path) -> None:
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in _ROWS]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def _json_array(path: Path) -> None:
    path.write_text(json.dumps([{"text": text, "label": label} for text, label in _ROWS], indent=1), encoding="utf-8")


def _parquet(path: Path) -> None:
    _frame().to_parquet(path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", _separated(",")),
        ("semicolons.csv", _separated(";")),
        ("tabs.csv", _separated("\t")),
        ("a.tsv", _separated("\t")),
        ("UPPER.CSV", _separated(",")),
        ("a.jsonl", _json_lines),
        ("a.ndjson", _json_lines),
        ("lines.json", _json_lines),
        ("array.json", _json_array),
        ("a.parquet", _parquet),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    table = read_table(tmp_path / name)
    assert _pairs(table) == _ROWS
    assert (table.name, table.text, table.label, table.split) == (name, "text", "label", None)


@pytest.mark.parametrize(("written", "read"), [("utf-8", "utf-8-sig"), ("utf-8-sig", "utf-8-sig"), ("gb18030", "gb18030")])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_encodings_of_chinese_files(tmp_path: Path, name: str, written: str, read: str) -> None:
    path = tmp_path / name
    csv_text = "评论,类别\n很好,好\n很差,差\n"
    json_text = '{"评论": "很好", "类别": "好"}\n{"评论": "很差", "类别": "差"}\n'
    path.write_text(csv_text if path.suffix == ".csv" else json_text, encoding=written)
    table = read_table(path)
    assert _pairs(table) == [("很好", "好"), ("很差", "差")]
    assert table.encoding == read


def test_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\r\nfine,yes\r\nbad,no\r\n")
    assert _pairs(read_table(tmp_path / "a.csv")) == [("fine", "yes"), ("bad", "no")]


def _saved(path: Path, splits: Sequence[str]) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["negative", "positive"])}
    )
    part = datasets.Dataset.from_dict({"text": ["good", "bad", "who knows"], "label": [1, 0, -1]}, features=features)
    saved = datasets.DatasetDict(dict.fromkeys(splits, part)) if splits else part
    saved.save_to_disk(str(path))


def test_a_folder_of_hugging_face_datasets_gives_the_names_of_its_classes(tmp_path: Path) -> None:
    _saved(tmp_path / "one", [])
    table = read_table(tmp_path / "one")
    assert list(table.frame[table.label])[:2] == ["positive", "negative"]
    assert pd.isna(table.frame[table.label].iloc[2])
    assert table.split is None


def test_a_dictionary_of_datasets_gives_the_splits(tmp_path: Path) -> None:
    _saved(tmp_path / "several", ["train", "test"])
    table = read_table(tmp_path / "several")
    assert table.split == "split"
    assert list(table.frame["split"]) == ["train"] * 3 + ["test"] * 3
    assert list(table.frame[table.label])[3:5] == ["positive", "negative"]


@pytest.mark.parametrize(
    ("header", "text", "label", "split"),
    [
        ("id,Text,LABEL", "Text", "LABEL", None),
        ("id, review , sentiment ", "review", "sentiment", None),
        ("id,文本,标签", "文本", "标签", None),
        ("id,内容,类别,Split", "内容", "类别", "Split"),
        ("id,评论,intent,partition", "评论", "intent", "partition"),
        ("title,text,label", "text", "label", None),
    ],
)
def test_columns_are_found_by_their_usual_names(tmp_path: Path, header: str, text: str, label: str, split: str | None) -> None:
    cells = header.count(",") + 1
    (tmp_path / "a.csv").write_text(f"{header}\n" + ",".join(f"c{n}" for n in range(cells)) + "\n", encoding="utf-8")
    table = read_table(tmp_path / "a.csv")
    assert (table.text, table.label, table.split) == (text, label, split)


def test_named_columns_go_before_the_usual_ones(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,Frage,Absicht\na,b,c,d\n", encoding="utf-8")
    table = read_table(tmp_path / "a.csv", text_column="Frage", label_column="Absicht")
    assert _pairs(table) == [("c", "d")]


def test_labels_may_be_absent_where_none_are_needed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\na\n", encoding="utf-8")
    assert read_table(tmp_path / "a.csv", need_label=False).text == "text"
    with pytest.raises(DataError, match="label"):
        read_table(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no-label.csv", b"text,stars\na,5\n", ["label", "text, stars", "--label-column"]),
        ("no-text.csv", b"words,label\na,x\n", ["text", "words, label", "--text-column"]),
        ("empty.csv", b"", ["is empty"]),
        ("blank.csv", b" \n\n \n", ["is empty"]),
        ("header-only.csv", b"text,label\n", ["no rows"]),
        ("empty.jsonl", b"\n", ["is empty"]),
        ("empty.json", b"[]", ["no rows"]),
        ("neither.csv", b"text,label\ngood,yes\nbad,no\n\xff\xff\xff,no\n", ["UTF-8", "GB18030", "line 4"]),
        ("broken.jsonl", b'{"text": "a", "label": "b"}\n\n{"text": "secret\n', ["line 3"]),
        ("broken.json", b'[\n{"text": "a", "label": "b"},\n{"text": "secret" "label"}]', ["line 3"]),
        ("numbers.jsonl", b'{"text": "a", "label": "b"}\n7\n', ["named fields"]),
        ("cells.csv", b"text,label\nfine,yes\nsecret, with a comma,no\na,b,c,d\n", ["2 rows", "row 2", "quote"]),
        ("twice.csv", b"text,label,label\na,b,c\n", ["'label'", "2 columns"]),
        ("cut.parquet", b"PAR1 and nothing more", [".parquet"]),
        ("table.xlsx", b"PK", [".xlsx", ".csv", ".parquet"]),
        ("noending", b"text,label\na,b\n", ["none", ".csv"]),
    ],
)
def test_a_refusal_names_the_file_and_what_is_there(tmp_path: Path, name: str, content: bytes, said: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / name)
    message = caught.value.message
    assert name in message
    assert [part for part in said if part not in message] == []
    assert "secret" not in message


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*absent\.csv"):
        read_table(tmp_path / "absent.csv")


def test_a_folder_that_is_no_data_set_is_named(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match="pictures cannot be read as a data set folder"):
        read_table(tmp_path / "pictures")


def test_a_named_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,b\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv has no column 'stars'; it has: text, label"):
        read_table(tmp_path / "a.csv", label_column="stars")
