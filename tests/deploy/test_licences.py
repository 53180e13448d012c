"""Every package that Hone needs may be used and passed on; the bill of materials names them all."""

from __future__ import annotations

import json
from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path
from typing import cast

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.licences import PROGRAMS, VENDORS, Package, licence_of, main, packages, vendored


def test_every_licence_is_one_that_reaches_nothing_else() -> None:
    found = [package for package in packages() if not package.name.startswith(VENDORS)]
    assert {"torch", "ray", "sqlalchemy", "psycopg", "numpy"} <= {package.name for package in found}
    assert [package for package in found if not package.allowed] == []
    assert set(PROGRAMS) <= {package.name for package in found}
    assert [(package.name, package.allowed) for package in vendored()] == [("uplot", True)]


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND AGPL-3.0-only", False),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("", False),
    ],
)
def test_of_alternatives_one_has_to_be_allowed_and_of_what_holds_together_all(licence: str, allowed: bool) -> None:
    assert Package("x", "1", licence).allowed is allowed


class _Distribution:
    """A package with nothing but metadata."""

    def __init__(self, **fields: str) -> None:
        self.metadata = Message()
        self.metadata["Name"] = "x"
        for name, value in fields.items():
            self.metadata[name.replace("_", "-")] = value


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License_Expression": "MIT OR Apache-2.0", "License": "GPL"}, "MIT OR Apache-2.0"),
        ({"Classifier": "License :: OSI Approved :: MIT License", "License": "see LICENSE"}, "MIT"),
        ({"License": "Apache License, Version 2.0"}, "Apache-2.0"),
        ({"License": "GNU General Public License v3"}, ""),
        ({"Classifier": "License :: OSI Approved :: GNU Affero General Public License v3"}, ""),
        ({}, ""),
    ],
)
def test_what_metadata_does_not_say_clearly_is_not_guessed(fields: dict[str, str], licence: str) -> None:
    assert licence_of(cast(Distribution, _Distribution(**fields))) == licence


def test_the_bill_of_materials_keeps_to_its_schema_and_names_every_package(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "sbom.cdx.json"
    assert main([str(path)]) == 0
    text = path.read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert bill["metadata"]["component"]["name"] == "hone"
    brought = {package.name: f"pkg:npm/{package.name}@{package.version}" for package in vendored()}
    assert {part["name"] for part in bill["components"]} == ({package.name for package in packages()} | set(brought)) - {"hone"}
    for part in bill["components"]:
        assert part["version"]
        assert part["purl"] == brought.get(part["name"], part["purl"])
        assert part["purl"].startswith("pkg:npm/" if part["name"] in brought else "pkg:pypi/")
    needs = {entry["ref"].partition("==")[0]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    assert any(name.startswith("ray==") for name in needs["hone"])
    assert any(name.startswith("uplot==") for name in needs["hone"])
