"""The public data sets that quality is measured on: frozen features of their texts, and labels as numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.settings import Settings
from core.text import TextSettings, clean
from train.frozen import frozen_features
from train.head import FeatureRows

IntVector = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledTexts:
    """A data set: features and labels of ``n`` texts, and the places of its published splits."""

    texts: list[str]
    rows: FeatureRows
    labels: IntVector
    classes: int
    train: IntVector
    test: IntVector


def folder() -> Path:
    """Return the folder of data sets, which ``HONE_BENCH_DATA`` names."""
    return Path(os.environ.get("HONE_BENCH_DATA", "../shared/data"))


def load(name: str, home: Path) -> LabelledTexts:
    """Return a data set; its embeddings are kept in ``home``, so that a second run starts at once."""
    frame = pd.read_parquet(folder() / name / "data.parquet").drop_duplicates("text").reset_index(drop=True)
    settings = Settings.model_validate({"HONE_HOME": home})
    settings.home.prepare()
    texts = [clean(text, TextSettings.model_validate({})) for text in frame["text"]]
    labels, names = pd.factorize(frame["label"], sort=True)
    split = frame["split"].to_numpy()
    return LabelledTexts(
        texts=texts,
        rows=frozen_features(settings, texts),
        labels=np.asarray(labels, dtype=np.int64),
        classes=len(names),
        train=np.flatnonzero(split != "test"),
        test=np.flatnonzero(split == "test"),
    )
