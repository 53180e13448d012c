"""Outcomes as files: a row each as CSV, and with what they were measured on as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Row = DataclassInstance | Mapping[str, object]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write ``rows``, which have the same fields, to ``path``; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # As objects, so that a whole number stays one where another row has none.
    pd.DataFrame([_fields(row) for row in rows], dtype=object).to_csv(path, index=False)


def write_json(path: Path, name: str, rows: Sequence[Row], facts: Mapping[str, object]) -> None:
    """Write ``facts`` and, under ``name``, ``rows`` to ``path``; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**facts, name: [_fields(row) for row in rows]}, indent=1), encoding="utf-8")


def _fields(row: Row) -> dict[str, object]:
    return dict(row) if isinstance(row, Mapping) else asdict(row)
