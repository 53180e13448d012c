"""The Chinese README says what the English one says: the same figures, the same commands, examples that the service takes."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel

import core.run_bodies
import core.schemas
from core.settings import Settings
from deploy.reference import ROOT
from deploy.stack.learner import settings_environment

ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"<!-- schema: (\w+) -->\n```json\n(.*?)```", re.DOTALL)


def _rows(text: str, heading: str) -> list[list[str]]:
    table = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_the_results_are_the_same_row_by_row() -> None:
    english, chinese = _rows(ENGLISH, "Results"), _rows(CHINESE, "结果")
    assert len(english) == len(chinese) >= 6
    for ours, theirs in zip(english, chinese, strict=True):
        assert re.findall(r"`[^`]+`", ours[1]) == re.findall(r"`[^`]+`", theirs[1])
        assert sorted(re.findall(r"\d[\d.,]*\d|\d", ours[2])) == sorted(re.findall(r"\d[\d.,]*\d|\d", theirs[2])), ours[0]


def test_every_command_stands_in_both() -> None:
    def named(text: str, heading: str) -> set[str]:
        cells = "".join(row[0] for row in _rows(text, heading))
        return set(re.findall(r"`hone ([a-z]+)", cells))

    assert named(CHINESE, "命令") == named(ENGLISH, "Commands")


@pytest.mark.parametrize(("schema", "body"), EXAMPLE.findall(CHINESE))
def test_its_examples_are_valid_and_those_of_the_english_one(schema: str, body: str) -> None:
    module = core.schemas if hasattr(core.schemas, schema) else core.run_bodies
    model: type[BaseModel] = getattr(module, schema)
    model.model_validate_json(body)
    assert (schema, body) in EXAMPLE.findall(ENGLISH)


def test_its_links_lead_somewhere_and_its_settings_exist() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", CHINESE):
        assert (ROOT / target).exists(), target
    known = {*settings_environment(Settings()), "HONE_BENCH_DATA"}
    assert set(re.findall(r"\bHONE_[A-Z_]+\b", CHINESE)) <= known
    assert "](README.zh-CN.md)" in ENGLISH
