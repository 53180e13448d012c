"""What the review queue is worth on TREC-6: accuracy by number of labels, asked in its order and at random.

``python -m load_tests.review_queue [--home FOLDER] [--plot FILE]`` starts from the same few random labels, asks for a batch at
a time, refits after each as a run does, and prints how many labels either way needs for the accuracy of the full training set.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from core.classifier import softmax
from feedback.sampling import margins, pick_uncertain_and_diverse
from load_tests.quality_data import LabelledTexts, load
from train.head import fit_head, logits

mpl.use("Agg")
import matplotlib.pyplot as plt

IntVector = NDArray[np.int64]
Ask = Callable[[IntVector, np.random.Generator, NDArray[np.float32], int], IntVector]

FIRST = 200
# What is asked between two fits.
BATCH = 400
# More than TREC-6 has: both curves end where all is known.
MOST = 6_000
# Of the queue's places, so many are drawn at random for the audit; without corrections nothing is suspicious.
AUDIT_RATIO = 0.3
SEEDS = 2


def ask_at_random(pool: IntVector, chance: np.random.Generator, _scores: NDArray[np.float32], count: int) -> IntVector:
    """Return ``count`` places of the pool, any."""
    return chance.permutation(pool)[:count]


class Queue:
    """The queue's mixture of the audit, uncertainty and diversity."""

    def __init__(self, data: LabelledTexts) -> None:
        self._data = data

    def __call__(self, pool: IntVector, chance: np.random.Generator, scores: NDArray[np.float32], count: int) -> IntVector:
        """Return ``count`` places of the pool."""
        audited = chance.permutation(pool)[: int(AUDIT_RATIO * count)]
        left = np.setdiff1d(pool, audited)
        embeddings = self._data.rows.embeddings
        picks = pick_uncertain_and_diverse(
            margins(scores[left]), None if embeddings is None else embeddings[left], count - len(audited)
        )
        return np.concatenate([audited, left[picks]])


def curve(data: LabelledTexts, ask: Ask, seed: int) -> list[tuple[int, float]]:
    """Return numbers of labels, up to ``MOST``, with the accuracy on the test part that each gives."""
    head = None
    chance = np.random.default_rng(seed)
    known = chance.permutation(data.train)[:FIRST]
    found = []
    while True:
        head = fit_head(data.rows.take(known), data.labels[known], classes=data.classes, start=head)
        scores = softmax(logits(head, data.rows))
        found.append((len(known), accuracy(data, scores)))
        pool = np.setdiff1d(data.train, known)
        if not len(pool) or len(known) + BATCH > MOST:
            return found
        known = np.concatenate([known, ask(pool, chance, scores, min(BATCH, len(pool)))])


def accuracy(data: LabelledTexts, scores: NDArray[np.float32]) -> float:
    """Return the share of the test part that the scores of all rows (n, c) label rightly."""
    return float((scores[data.test].argmax(axis=1) == data.labels[data.test]).mean())


def labels_needed(points: list[tuple[int, float]], wanted: float) -> int | None:
    """Return the fewest labels with that accuracy, averaged with the point after; None where none of the points has it."""
    values = [value for _, value in points]
    smooth = [float(np.mean(values[place : place + 2])) for place in range(len(values))]
    return next((count for (count, _), value in zip(points, smooth, strict=True) if value >= wanted), None)


def main() -> None:
    """Print and plot both curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="folder that keeps embeddings from run to run")
    parser.add_argument("--plot", type=Path, default=None, help="where to write the plot, a PNG")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        data = load("trec6", options.home or Path(spare))
    curves: dict[str, list[tuple[int, float]]] = {}
    for name, ask in (("random", ask_at_random), ("queue", Queue(data))):
        runs = [curve(data, ask, seed) for seed in range(SEEDS)]
        curves[name] = [(points[0][0], float(np.mean([value for _, value in points]))) for points in zip(*runs, strict=True)]
    head = fit_head(data.rows.take(data.train), data.labels[data.train], classes=data.classes)
    full = accuracy(data, softmax(logits(head, data.rows)))
    print(f"TREC-6, mean of {SEEDS} seeds; accuracy of all {len(data.train)} labels: {full:.2%}")
    print("labels  random   queue", flush=True)
    for (count, at_random), (_, queued) in zip(curves["random"], curves["queue"], strict=True):
        print(f"{count:>6}  {at_random:.2%}  {queued:.2%}")
    for wanted in (full, full - 0.005, full - 0.01):
        needed = {name: labels_needed(points, wanted) or f"more than {MOST}" for name, points in curves.items()}
        print(f"labels for {wanted:.2%}: random {needed['random']}, queue {needed['queue']}, of {len(data.train)}")
    if options.plot is not None:
        plot(curves, full, options.plot)


def plot(curves: dict[str, list[tuple[int, float]]], full: float, path: Path) -> None:
    """Draw the curves as a PNG."""
    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name, points in curves.items():
        axis.plot([count for count, _ in points], [value for _, value in points], marker=".", label=name)
    axis.axhline(full, color="#7f7f7f", linestyle="--", label="all labels")
    axis.set(xlabel="labels", ylabel="accuracy on the test part", title="TREC-6: labels asked by the queue and at random")
    axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
