"""The package's own data: what its card says is what the file holds."""

from __future__ import annotations

import csv
import re
from collections import Counter

import pytest

from core.text import TextSettings, text_key
from feedback.snapshot import Example
from train.cleaning import DataReport, to_examples
from train.reading import read_table
from train.teach import SAMPLE

_FOUNDING = {"这是一个非常好的产品，我非常喜欢它。": "positive", "这是一个非常差的产品，我不喜欢。": "negative"}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    """Give the file as a spreadsheet reads it."""
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def card() -> str:
    """Give the data card."""
    return (SAMPLE.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def read() -> tuple[list[Example], DataReport]:
    """Give the file as training reads it."""
    return to_examples(read_table(SAMPLE), TextSettings.model_validate({}))


def test_nothing_in_it_has_to_be_mended(read: tuple[list[Example], DataReport], rows: list[dict[str, str]]) -> None:
    examples, report = read
    assert report.findings == []
    assert len(examples) == len(rows) >= 1_000
    assert len({text_key(row["text"]) for row in rows}) == len(rows)


def test_the_split_column_is_honoured(read: tuple[list[Example], DataReport], rows: list[dict[str, str]]) -> None:
    examples, report = read
    assert report.split_from == "column"
    assert {example.text: example.split for example in examples} == {row["text"]: row["split"] for row in rows}
    assert set(report.splits) == {"train", "validation", "test"}


def test_labels_are_balanced_in_every_language_and_split(rows: list[dict[str, str]]) -> None:
    for column in ("lang", "split"):
        for value in {row[column] for row in rows}:
            counts = Counter(row["label"] for row in rows if row[column] == value)
            assert set(counts) == {"positive", "negative"}
            assert 0.8 < counts["positive"] / counts["negative"] < 1.25


def test_the_founding_sentences_are_held_out(read: tuple[list[Example], DataReport]) -> None:
    found = {example.text: example for example in read[0] if example.text in _FOUNDING}
    assert {text: example.label for text, example in found.items()} == _FOUNDING
    assert {example.split for example in found.values()} == {"test"}
    alike = {text_key(text) for text in _FOUNDING}
    assert not alike & {example.text_key for example in read[0] if example.split != "test"}


def test_texts_are_varied(rows: list[dict[str, str]]) -> None:
    beginnings = Counter(row["text"][:12] for row in rows)
    assert max(beginnings.values()) < 0.01 * len(rows)
    lengths = sorted(len(row["text"]) for row in rows)
    assert lengths[len(rows) // 20] * 5 < lengths[-len(rows) // 20]


def test_the_card_counts_what_the_file_holds(card: str, rows: list[dict[str, str]]) -> None:
    def said(pattern: str) -> list[int]:
        found = re.search(pattern, card)
        assert found is not None, pattern
        return [int(number.replace(",", "")) for number in found.groups()]

    def held(column: str, *values: str) -> list[int]:
        counts = Counter(row[column] for row in rows)
        return [counts[value] for value in values]

    assert said(r"([\d,]+) short reviews") == [len(rows)]
    assert said(r"\| languages \| ([\d,]+) Chinese .*?, ([\d,]+) English") == held("lang", "zh", "en")
    assert said(r"\| labels \| ([\d,]+) positive, ([\d,]+) negative") == held("label", "positive", "negative")
    splits = said(r"\| splits \| ([\d,]+) train, ([\d,]+) validation, ([\d,]+) test")
    assert splits == held("split", "train", "validation", "test")
    assert {row["lang"] for row in rows} == {"zh", "en"}


def test_the_card_names_every_column_domain_and_style(card: str, rows: list[dict[str, str]]) -> None:
    lines = {
        key: line for key in ("columns", "domains", "styles") for line in card.splitlines() if line.startswith(f"| {key} ")
    }
    assert re.findall(r"`(\w+)`", lines["columns"]) == list(rows[0])
    domains = {name.strip() for name in lines["domains"].split("|")[2].split(",")}
    assert domains == {row["domain"] for row in rows}
    assert set(re.findall(r"`(\w+)`", lines["styles"])) == {row["style"] for row in rows}
    for text in _FOUNDING:
        assert text in card
