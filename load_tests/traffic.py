"""The texts that are sent, as bodies of requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SAMPLE = Path(__file__).parent.parent / "train" / "data" / "reviews.csv"


def read_texts(data: Path | None, *, seed: int = 0) -> list[str]:
    """Return the texts of the test split of ``data`` (all texts where it has none), shuffled; None is the package's sample."""
    return [text for text, _ in read_rows(data, seed=seed)]


def read_rows(data: Path | None, *, seed: int = 0) -> list[tuple[str, str]]:
    """Return the same texts, each with its label."""
    path = data or SAMPLE
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    if "split" in frame and (frame.split == "test").any():
        frame = frame[frame.split == "test"]
    rows = list(zip(frame.text.tolist(), frame.label.astype(str).tolist(), strict=True))
    return [rows[place] for place in np.random.default_rng(seed).permutation(len(rows))]


def own_body(texts: Sequence[str]) -> dict[str, Any]:
    """Return the body that asks Hone about ``texts``."""
    return {"text": texts[0], "top_k": 1} if len(texts) == 1 else {"texts": list(texts), "top_k": 1}


def write_bodies(
    path: Path, texts: Sequence[str], *, texts_each: int = 1, body: Callable[[Sequence[str]], dict[str, Any]] = own_body
) -> None:
    """Write one request body per line: a text each, or ``texts_each`` of them; what does not fill the last body is left out."""
    full = len(texts) - len(texts) % texts_each
    bodies = [body(texts[start : start + texts_each]) for start in range(0, full, texts_each)]
    if not bodies:
        raise ValueError(f"{len(texts)} texts do not fill one request of {texts_each}")
    path.write_text("".join(f"{json.dumps(body)}\n" for body in bodies), encoding="ascii")
