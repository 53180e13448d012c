"""What replay is worth in a full run: new intents of BANKING77 are learned beside shares of what was known before.

::

    python -m load_tests.replay --data $DATA/banking77/data.parquet --out results

The last 17 of the 77 intents, in alphabetical order, are new: a few rows of each, weighing what a correction weighs, against
base rows of the other 60. As in a full run the head is first fitted on all of them over the encoder as it is; then encoder and
head are fine-tuned with each share of the base rows replayed, drawn anew every epoch. Judged are training rows that were left
out; the published test part is not read. Prints a line for each share and writes ``replay.csv``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.classifier import Head
from core.settings import Settings
from core.text import TextSettings, clean
from load_tests.tables import write_csv
from train.base import Base, load_base
from train.finetune import TokenRows, finetune
from train.head import FeatureRows, fit_head, logits
from train.request import FinetuneSettings
from train.stepping import most_epochs
from train.tensors import embed_ids

IntVector = NDArray[np.int64]
_NEW_CLASSES = 17
_MAX_TOKENS = 64
_NOTHING = TokenRows([], np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True)
class Task:
    """Tokens of base and new rows to learn from, and rows to be judged on; classes from ``first_new`` on are new."""

    train: TokenRows
    judged: TokenRows
    first_new: int


@dataclass(frozen=True)
class Outcome:
    """Accuracy on rows of old and of new classes, and what training cost; ``replay_ratio`` None is the head alone."""

    replay_ratio: float | None
    seed: int
    examples: int
    old_accuracy: float
    new_accuracy: float
    seconds: float
    cpu_s: float


def read(path: Path, base: Base, *, old_rows: int, new_rows: int, judged_rows: int) -> Task:
    """Return the task with so many rows for each class."""
    frame = pd.read_parquet(path)
    frame = frame[frame["split"] == "train"].sample(frac=1.0, random_state=0)
    names = sorted(frame["label"].unique())
    first_new = len(names) - _NEW_CLASSES
    base.tokenizer.enable_truncation(max_length=_MAX_TOKENS)
    learned: list[tuple[str, int]] = []
    judged: list[tuple[str, int]] = []
    for index, name in enumerate(names):
        texts = [clean(text, TextSettings.model_validate({})) for text in frame[frame["label"] == name]["text"]]
        judged += [(text, index) for text in texts[:judged_rows]]
        count = new_rows if index >= first_new else old_rows
        learned += [(text, index) for text in texts[judged_rows : judged_rows + count]]

    def rows(pairs: list[tuple[str, int]]) -> TokenRows:
        ids = [encoding.ids for encoding in base.tokenizer.encode_batch([text for text, _ in pairs])]
        labels = np.array([label for _, label in pairs], np.int64)
        return TokenRows(ids, labels, np.ones(len(ids), np.float32))

    train = rows(learned)
    fresh = np.flatnonzero(train.labels >= first_new)
    train.weights[fresh] = Settings().correction_weight
    return Task(replace(train, fresh=fresh), rows(judged), first_new)


def judge(task: Task, base: Base, head: Head) -> tuple[float, float]:
    """Return the accuracy on judged rows of old classes and on those of new ones."""
    answers = logits(head, FeatureRows(embed_ids(base, task.judged.ids), None)).argmax(axis=1)
    right, new = answers == task.judged.labels, task.judged.labels >= task.first_new
    return round(float(right[~new].mean()), 4), round(float(right[new].mean()), 4)


def probe_of(task: Task, base: Base) -> Head:
    """Return the head that a linear probe fits on all rows."""
    features = FeatureRows(embed_ids(base, task.train.ids), None)
    classes = int(task.judged.labels.max()) + 1
    return fit_head(features, task.train.labels, classes=classes, weights=task.train.weights)


def measure(task: Task, probe: Head, ratio: float, settings: FinetuneSettings) -> Outcome:
    """Return what a full run comes to that replays this share."""
    base = load_base()
    settings = replace(settings, replay_ratio=ratio)
    began, cpu = time.perf_counter(), time.process_time()
    head = finetune(base, probe, task.train, _NOTHING, settings)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    examples = most_epochs(task.train, settings) * task.train.per_epoch(ratio)
    return Outcome(ratio, settings.seed, examples, *judge(task, base, head), round(seconds, 1), round(cpu_s, 1))


def main() -> None:
    """Measure each share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Parquet with text, label and split")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.0, 0.1, 0.3, 1.0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--old-rows", type=int, default=12, help="base rows of each old class")
    parser.add_argument("--new-rows", type=int, default=10, help="corrections of each new class")
    parser.add_argument("--judged-rows", type=int, default=10, help="rows of each class to judge by")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the CSV")
    options = parser.parse_args()
    base = load_base()
    task = read(options.data, base, old_rows=options.old_rows, new_rows=options.new_rows, judged_rows=options.judged_rows)
    probe = probe_of(task, base)
    outcomes = [Outcome(None, 0, 0, *judge(task, base, probe), 0.0, 0.0)]
    print(json.dumps(asdict(outcomes[0])), flush=True)
    for seed in range(options.seeds):
        for ratio in options.ratios:
            outcomes.append(measure(task, probe, ratio, FinetuneSettings(epochs=options.epochs, seed=seed)))
            print(json.dumps(asdict(outcomes[-1])), flush=True)
            write_csv(options.out / "replay.csv", outcomes)


if __name__ == "__main__":
    main()
