"""The texts that are sent, as bodies of requests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

SAMPLE = Path(__file__).parent.parent / "train" / "data" / "reviews.csv"


def read_texts(data: Path | None, *, seed: int = 0) -> list[str]:
    """Return the texts of the test split of ``data`` (all texts where it has none), shuffled; None is the package's sample."""
    path = data or SAMPLE
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    if "split" in frame and (frame.split == "test").any():
        frame = frame[frame.split == "test"]
    texts = frame.text.tolist()
    return [texts[place] for place in np.random.default_rng(seed).permutation(len(texts))]


def write_bodies(path: Path, texts: Sequence[str], *, texts_each: int = 1) -> None:
    """Write one request body per line: a text each, or ``texts_each`` of them; what does not fill the last body is left out."""
    if texts_each == 1:
        bodies = [{"text": text, "top_k": 1} for text in texts]
    else:
        full = len(texts) - len(texts) % texts_each
        bodies = [{"texts": texts[start : start + texts_each], "top_k": 1} for start in range(0, full, texts_each)]
    if not bodies:
        raise ValueError(f"{len(texts)} texts do not fill one request of {texts_each}")
    path.write_text("".join(f"{json.dumps(body)}\n" for body in bodies), encoding="ascii")
