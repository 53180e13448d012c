"""Outcomes as files keep their numbers as they are."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from load_tests.tables import write_csv, write_json


@dataclass(frozen=True)
class _Outcome:
    name: str
    seed: int | None
    accuracy: float | None


def test_a_row_keeps_whole_numbers_whole_beside_one_that_has_none(tmp_path: Path) -> None:
    outcomes = [_Outcome("one, two", 1, 0.1 + 0.2), _Outcome("soup", None, None)]
    write_csv(tmp_path / "new" / "outcomes.csv", outcomes)
    with (tmp_path / "new" / "outcomes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"name": "one, two", "seed": "1", "accuracy": "0.30000000000000004"}
    assert rows[1] == {"name": "soup", "seed": "", "accuracy": ""}
    write_csv(tmp_path / "plain.csv", [{"name": "as", "places": 3}])
    assert (tmp_path / "plain.csv").read_text(encoding="utf-8") == "name,places\nas,3\n"


def test_what_was_measured_stands_beside_what_it_was_measured_on(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "outcomes.json", "rounds", [_Outcome("a", 1, 0.5)], {"cores": 2})
    found = json.loads((tmp_path / "new" / "outcomes.json").read_text(encoding="utf-8"))
    assert found == {"cores": 2, "rounds": [{"name": "a", "seed": 1, "accuracy": 0.5}]}
