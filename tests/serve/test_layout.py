"""What of this room knows Ray."""

from __future__ import annotations

import re
from pathlib import Path

import serve


def test_only_the_adapter_knows_ray() -> None:
    knows = {
        path.stem
        for path in Path(serve.__file__).parent.glob("*.py")
        if re.search(r"^(from|import) ray\b", path.read_text(), re.M)
    }
    assert knows == {"replica", "service"}
