"""Changing a sealed bundle's manifest the way somebody with an editor could."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.bundle import MANIFEST, file_sha256


def read_body(folder: Path) -> dict[str, Any]:
    """Return the manifest's JSON."""
    body: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return body


def edit(folder: Path, **changes: object) -> None:
    """Set top-level fields of the manifest; a value may be what JSON has no word for, like NaN."""
    body = read_body(folder) | changes
    (folder / MANIFEST).write_text(json.dumps(body), encoding="utf-8")


def accept(folder: Path, name: str) -> None:
    """Record the file ``name`` as it is now, so that only its content can be found wrong."""
    edit(folder, files=read_body(folder)["files"] | {name: file_sha256(folder / name)})
