"""What of this room knows Ray."""

from __future__ import annotations

import re
from pathlib import Path

import serve


def test_only_the_adapter_knows_ray() -> None:
    imports = re.compile(r"^(from|import) ray\b", re.MULTILINE)
    modules = Path(serve.__file__).parent.glob("*.py")
    assert {path.stem for path in modules if imports.search(path.read_text(encoding="utf-8"))} == {
        "ray_nodes",
        "replica",
        "service",
    }
