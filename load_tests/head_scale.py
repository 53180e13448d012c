"""What fitting a head costs as examples and classes grow.

::

    python -m load_tests.head_scale --out docs [--points 5000x77,500000x1000]

Features are made up but shaped like real ones: embeddings of length 1, drawn around a direction of their class in a space where
few axes carry most of the spread, and n-grams by Zipf's law, of which each class prefers some. Each point is fitted in a
process of its own with two threads, from nothing, as the first half of a head run does. Writes ``head-scale.csv`` and
``head-scale.svg`` and prints the exponents: the slope of the logarithm of processor seconds over that of examples, and over
that of classes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from train.features import FeatureRows, IntVector
from train.head import TOLERANCE, fit_head, logits
from train.vectorise import most_ngrams

EXAMPLES = ((5_000, 77), (10_000, 77), (50_000, 77), (100_000, 77), (500_000, 77))
CLASSES = ((50_000, 10), (50_000, 77), (50_000, 300), (50_000, 1_000))
LARGEST = ((500_000, 1_000),)
THREADS = 2
_WIDTH = 384
_GRAMS_PER_TEXT = 16
_OWN_GRAMS = 40
_HELD_OUT = 2_000


def main() -> int:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--points", help="examples x classes, with commas; all without")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(*_point(arguments.one))))
        return 0
    points = [_point(name) for name in arguments.points.split(",")] if arguments.points else [*EXAMPLES, *CLASSES, *LARGEST]
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "head-scale.csv"
    found = pd.read_csv(path).to_dict("records") if path.exists() else []
    for examples, classes in dict.fromkeys(points):
        command = [sys.executable, "-m", "load_tests.head_scale", "--out", str(arguments.out), "--one", f"{examples}x{classes}"]
        line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        print(line.strip(), flush=True)
        found = [row for row in found if (row["examples"], row["classes"]) != (examples, classes)] + [json.loads(line)]
        # Kept at once: the largest points take long.
        pd.DataFrame(found).sort_values(["classes", "examples"]).to_csv(path, index=False)
    frame = pd.read_csv(path)
    draw(frame, arguments.out / "head-scale.svg")
    print(json.dumps({"exponent_in_examples": exponent(frame, "examples"), "exponent_in_classes": exponent(frame, "classes")}))
    return 0


def _point(name: str) -> tuple[int, int]:
    examples, classes = name.split("x")
    return int(examples), int(classes)


def make(examples: int, classes: int, seed: int = 0) -> tuple[FeatureRows, IntVector]:
    """Return ``examples`` rows of ``classes`` classes, whose sizes differ by up to ten times."""
    random = np.random.default_rng(seed)
    shares = random.uniform(0.1, 1.0, classes)
    labels = random.choice(classes, size=examples, p=shares / shares.sum())
    spread = np.arange(1, _WIDTH + 1, dtype=np.float32) ** -0.5
    centres = random.normal(size=(classes, _WIDTH)).astype(np.float32) * spread
    embeddings = random.normal(size=(examples, _WIDTH), scale=4.0).astype(np.float32)
    embeddings *= spread
    embeddings += centres[labels]
    embeddings += 2.0 * spread[0] * random.normal(size=_WIDTH).astype(np.float32) / np.sqrt(np.float32(_WIDTH))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return FeatureRows(embeddings, _ngrams(labels, classes, random)), labels


def _ngrams(labels: IntVector, classes: int, random: np.random.Generator) -> csr_matrix[np.float32]:
    """Return n-grams by Zipf's law, one in sixteen from those the class of its text prefers."""
    examples = len(labels)
    # A vocabulary grows more slowly than its texts (Heaps' law), and is cut where the head would become too large.
    size = min(most_ngrams(classes), int(20 * examples**0.65))
    drawn = np.minimum((random.random((examples, _GRAMS_PER_TEXT)) ** -1.0).astype(np.int64), size) - 1
    own = random.integers(0, size, size=(classes, _OWN_GRAMS))
    drawn[:, 0] = own[labels, random.integers(0, _OWN_GRAMS, size=examples)]
    frequency = np.bincount(drawn.ravel(), minlength=size)
    weight = (np.log((1.0 + examples) / (1.0 + frequency)) + 1.0).clip(min=0.1).astype(np.float32)
    bounds = np.arange(0, examples * _GRAMS_PER_TEXT + 1, _GRAMS_PER_TEXT)
    matrix = csr_matrix((weight[drawn].ravel(), drawn.ravel().astype(np.int32), bounds), shape=(examples, size))
    matrix.sum_duplicates()
    lengths = np.sqrt(np.add.reduceat(np.square(matrix.data), matrix.indptr[:-1]))
    matrix.data /= np.repeat(lengths, np.diff(matrix.indptr))
    return matrix


def measure(examples: int, classes: int) -> dict[str, float]:
    """Return what one fit cost."""
    rows, labels = make(examples + _HELD_OUT, classes)
    fitted, held_out = rows.between(0, examples), rows.between(examples, examples + _HELD_OUT)
    evaluations = 0

    def count(step: int, _: float) -> None:
        # Starts anew on all rows, after a part of them.
        nonlocal evaluations
        evaluations = step

    before_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    wall, cpu = time.perf_counter(), time.process_time()
    head = fit_head(fitted, labels[:examples], classes=classes, threads=THREADS, on_step=count)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    right = logits(head, held_out).argmax(axis=1) == labels[examples:]
    return {
        "examples": examples,
        "classes": classes,
        "ngrams": 0 if rows.ngrams is None else int(rows.ngrams.shape[1]),
        "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 2),
        "evaluations_of_all_rows": evaluations,
        "data_mib": round(before_bytes / 2**20),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10),
        "held_out_accuracy": round(float(right.mean()), 4),
        "tolerance": TOLERANCE,
        "cores": os.cpu_count() or 0,
    }


def exponent(frame: pd.DataFrame, axis: str) -> float | None:
    """Return the slope of log processor seconds over log ``axis``, along the points that differ in it alone."""
    points = EXAMPLES if axis == "examples" else CLASSES
    taken = frame[[pair in points for pair in zip(frame.examples, frame.classes, strict=True)]]
    if len(taken) < 2:
        return None
    return round(float(np.polyfit(np.log(taken[axis]), np.log(taken.cpu_s), 1)[0]), 3)


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Draw processor seconds over both axes, with the line that linear growth would be."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
    for axis, name, points in zip(axes, ("examples", "classes"), (EXAMPLES, CLASSES), strict=True):
        pairs = [pair in points for pair in zip(frame.examples, frame.classes, strict=True)]
        taken = frame[pairs].sort_values(name)
        if taken.empty:
            continue
        axis.loglog(taken[name], taken.cpu_s, "o-", color="#d95f02", label="measured")
        first = taken.iloc[0]
        linear = first.cpu_s * taken[name] / first[name]
        axis.loglog(taken[name], linear, "--", color="#7f7f7f", label="linear growth")
        other = "classes" if name == "examples" else "examples"
        axis.set(xlabel=f"{name} ({int(first[other]):,} {other})", title=f"exponent {exponent(frame, name)}")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("processor seconds of one fit")
    axes[0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
