"""What each setting of fine-tuning is worth: the same training with one thing changed at a time, over several seeds.

::

    python -m load_tests.ablation --data $DATA/trec6/data.parquet --rows 1000 --seeds 0 1 --out results
    python -m load_tests.ablation --data $DATA/trec6/data.parquet --way thorough --way "balanced layer_decay=0.8"

A way is a preset and what differs from it, as a model card writes it. As in a full run a head is first fitted over the encoder
as it is, and the validation rows choose the epoch; judged are training rows that were left out of both. The published test part
is not read. Rows, order and seeds are the same for each way, and ways take turns, so that the machine's other work falls on all
of them. Prints a line for each training and writes ``ablation.csv``.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from core.classifier import Head, softmax
from core.errors import DataError
from core.finetuning import FinetuneSettings, Preset, finetuning, parse_changes
from core.text import TextSettings, clean
from train.base import Base, load_base
from train.finetune import Step, TokenRows, finetune
from train.head import FeatureRows, fit_head, fit_temperature, logits
from train.measure import log_loss
from train.stepping import most_epochs
from train.tensors import embed_ids

WAYS = (
    "balanced",
    "balanced epochs=3",
    "fast",
    "thorough",
    "balanced epochs=3 schedule=cosine",
    "balanced epochs=3 schedule=constant",
    "balanced epochs=3 schedule=step",
    "balanced epochs=3 warmup_ratio=0",
    "balanced epochs=3 learning_rate=3e-5",
    "balanced epochs=3 learning_rate=3e-4",
    "balanced epochs=3 layer_decay=0.8",
    "balanced epochs=3 dropout=0",
    "balanced epochs=3 dropout=0.2",
    "balanced epochs=3 head_dropout=0.1",
    "balanced epochs=3 weight_decay=0",
    "balanced epochs=3 weight_decay=0.1",
    "balanced epochs=3 l1=0.001",
    "balanced epochs=3 l2_start=0.1 weight_decay=0",
    "balanced epochs=3 label_smoothing=0.1",
    "balanced epochs=3 clip_norm=0",
    "balanced epochs=3 batch_texts=16",
    "balanced epochs=3 micro_texts=8",
    "balanced epochs=3 precision=bf16",
    "balanced epochs=3 lora_rank=16",
    "balanced epochs=3 lora_rank=16 learning_rate=1e-3",
)
_MAX_TOKENS = 64


@dataclass(frozen=True)
class Task:
    """Tokens of rows to learn from, to choose the epoch by, and to be judged on."""

    train: TokenRows
    validation: TokenRows
    judged: TokenRows
    classes: int


@dataclass(frozen=True)
class Outcome:
    """What a way came to; ``probe`` is the head over the encoder as it is."""

    way: str
    seed: int
    accuracy: float
    log_loss: float
    epochs: int
    seconds: float
    cpu_s: float


def settings_of(way: str, seed: int) -> FinetuneSettings:
    """Return the settings that are written so, in fp32 unless they say otherwise: no trial is to decide."""
    preset, *pairs = way.split()
    return finetuning(cast("Preset", preset), {"precision": "fp32", "seed": seed, **parse_changes(pairs)})


def read(path: Path, base: Base, *, rows: int, judged_rows: int) -> Task:
    """Return the task: ``rows`` to learn from, a fifth of that to choose by, ``judged_rows`` to judge by.

    Raises:
        DataError: the file has not so many different texts outside its test part.
    """
    frame = pd.read_parquet(path)
    frame = frame[frame["split"] != "test"].drop_duplicates("text").sample(frac=1.0, random_state=0)
    wanted = rows + rows // 5 + judged_rows
    if len(frame) < wanted:
        raise DataError(f"{path.name} has {len(frame)} different texts outside its test part; {wanted} are wanted")
    names = sorted(frame["label"].astype(str).unique())
    base.tokenizer.enable_truncation(max_length=_MAX_TOKENS)

    def part(start: int, count: int) -> TokenRows:
        some = frame.iloc[start : start + count]
        texts = [clean(text, TextSettings.model_validate({})) for text in some["text"]]
        labels = np.array([names.index(str(label)) for label in some["label"]], np.int64)
        return TokenRows([found.ids for found in base.tokenizer.encode_batch(texts)], labels, np.ones(len(some), np.float32))

    chosen_by = rows // 5
    return Task(part(judged_rows + chosen_by, rows), part(judged_rows, chosen_by), part(0, judged_rows), len(names))


def judge(task: Task, base: Base, head: Head) -> tuple[float, float]:
    """Return accuracy on the judged rows, and log loss at the temperature that validation rows choose, as in what is served."""
    chosen_by, scores = (logits(head, FeatureRows(embed_ids(base, rows.ids), None)) for rows in (task.validation, task.judged))
    temperature = np.float32(fit_temperature(chosen_by, task.validation.labels))
    accuracy = float((scores.argmax(axis=1) == task.judged.labels).mean())
    return round(accuracy, 4), round(log_loss(softmax(scores / temperature), task.judged.labels), 4)


def measure(task: Task, probe: Head, way: str, seed: int) -> Outcome:
    """Return what a training comes to."""
    base = load_base()
    settings = settings_of(way, seed)
    steps: list[Step] = []
    began, cpu = time.perf_counter(), time.process_time()
    head = finetune(base, probe, task.train, task.validation, settings, on_step=steps.append)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    epochs = round(most_epochs(task.train, settings) * len(steps) / steps[-1].steps)
    return Outcome(way, seed, *judge(task, base, head), epochs, round(seconds, 1), round(cpu_s, 1))


def main() -> None:
    """Measure each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Parquet with text, label and split")
    parser.add_argument(
        "--way", action="append", help="a preset and what differs from it; repeat it; absent: those listed here"
    )
    parser.add_argument("--rows", type=int, default=1000, help="rows to learn from")
    parser.add_argument("--judged-rows", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the CSV, to which rows are added")
    options = parser.parse_args()
    base = load_base()
    task = read(options.data, base, rows=options.rows, judged_rows=options.judged_rows)
    probe = fit_head(FeatureRows(embed_ids(base, task.train.ids), None), task.train.labels, classes=task.classes)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "ablation.csv"
    note(path, Outcome("probe", 0, *judge(task, base, probe), 0, 0.0, 0.0))
    for seed in options.seeds:
        for way in options.way or WAYS:
            note(path, measure(task, probe, way, seed))


def note(path: Path, outcome: Outcome) -> None:
    """Print the outcome and add it to the file."""
    print(json.dumps(asdict(outcome)), flush=True)
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(outcome)))
        if new:
            writer.writeheader()
        writer.writerow(asdict(outcome))


if __name__ == "__main__":
    main()
