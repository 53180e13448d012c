"""How many planted label errors of TREC-6 ``hone audit`` finds: ``python -m load_tests.label_noise [--home FOLDER]``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from load_tests.quality_data import LabelledTexts, load
from train.frozen import cross_validated
from train.noise import rank

FLIPPED_RATIO = 0.1
LEAST_FOUND_RATIO = 0.6


def found_ratio(data: LabelledTexts, seed: int) -> float:
    """Return the share of planted flips that the tenth of rows with the most doubtful labels holds."""
    chance = np.random.default_rng(seed)
    rows, truth = data.rows.take(data.train), data.labels[data.train]
    flipped = chance.permutation(len(truth))[: int(FLIPPED_RATIO * len(truth))]
    labels = truth.copy()
    labels[flipped] = (truth[flipped] + chance.integers(1, data.classes, len(flipped))) % data.classes
    ranked, _ = rank(cross_validated(rows, labels, classes=data.classes, seed=seed), labels)
    worst = set(ranked[: len(truth) // 10].tolist())
    return len(worst & set(flipped.tolist())) / len(flipped)


def main() -> None:
    """Print what is found with five seeds, and fail below the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="folder that keeps embeddings from run to run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        data = load("trec6", options.home or Path(spare))
        found = [found_ratio(data, seed) for seed in range(5)]
    print("planted flips in the most doubtful tenth, by seed:", " ".join(f"{ratio:.1%}" for ratio in found))
    if min(found) < LEAST_FOUND_RATIO:
        raise SystemExit(f"below {LEAST_FOUND_RATIO:.0%}")


if __name__ == "__main__":
    main()
