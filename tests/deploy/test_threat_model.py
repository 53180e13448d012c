"""The threat model names a test for each defence; every one of them exists."""

from __future__ import annotations

import re

import pytest

from deploy.reference import ROOT

PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
# The first part says whom it reckons with.
THREATS = [tuple(part.split("\n", 1)) for part in PAGE.split("\n## ")[2:]]


def test_the_threats_of_the_day_are_all_there() -> None:
    assert [name for name, _ in THREATS] == [
        "Poisoned feedback",
        "Poisoned bundles and encoders",
        "Text that gives orders",
        "Theft of keys",
        "Extraction by volume",
        "Denial of service",
        "The replicas' ports",
    ]


@pytest.mark.parametrize(("name", "section"), THREATS, ids=[name for name, _ in THREATS])
def test_each_defence_names_a_test_that_exists_and_each_threat_says_what_is_left(name: str, section: str) -> None:
    assert "**What is left.**" in section
    rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
    assert rows, name
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
        assert named, row
        for path, test in named:
            source = (ROOT / path).read_text(encoding="utf-8")
            assert not test or f"def {test}(" in source, f"{path}::{test}"
