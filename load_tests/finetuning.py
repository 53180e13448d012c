"""Fine-tuning's pace beside Hugging Face's Trainer: same model, start, rows, epochs and batch size, in turn, in one process.

::

    python -m load_tests.finetuning --data $DATA/banking77/data.parquet --out results

Both train the bundled encoder under mean pooling and a linear head that the same linear probe has fitted, at the same learning
rate and in batches of as many texts. All else is each side's own: the Trainer has its defaults (AdamW over every parameter,
linear decay, clipping at 1, the model's dropout, batches in random order padded to their longest text), and Hone has its own
(``train/finetune.py``). Neither looks at a validation part. Each round trains both from the start with another seed, and who
goes first alternates. Prints a table, writes ``finetuning.json`` and ``finetuning.csv``; the exit code is 1 when Hone is slower
than 1.5 times the Trainer by the median of the rounds, or less accurate than chance explains.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from torch import nn
from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

from core.classifier import Head
from core.text import TextSettings, clean
from load_tests.tables import write_csv, write_json
from train.base import Base, bundled_folder, load_base
from train.finetune import TokenRows, finetune
from train.head import FeatureRows, fit_head, logits
from train.request import FinetuneSettings
from train.stepping import head_of, linear_of, most_epochs
from train.tensors import embed_ids

LEAST_SPEED_RATIO = 1.5
_MAX_TOKENS = 64
_NOTHING = TokenRows([], np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True)
class Task:
    """Rows to learn from and rows to be judged on, and the probe that both sides start from."""

    train: TokenRows
    test: TokenRows
    probe: Head
    settings: FinetuneSettings


@dataclass(frozen=True)
class Outcome:
    """What one side came to in one round; ``cpu_s`` says what a busy machine hides."""

    round: int
    side: str
    examples_per_s: float
    seconds: float
    cpu_s: float
    accuracy: float


class Classifier(nn.Module):
    """Encoder and head as the Trainer wants them: a loss and logits for a batch with labels."""

    def __init__(self, base: Base, linear: nn.Linear) -> None:
        super().__init__()
        self.encoder, self.linear = base.encoder, linear

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Return the logits, and the mean cross-entropy where labels are given."""
        scores = self.linear(self.encoder(input_ids, attention_mask))
        return {"logits": scores} if labels is None else {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}


def read(path: Path, rows: int, test_rows: int, settings: FinetuneSettings) -> Task:
    """Return a task over a random part of the published splits, the same one every time."""
    frame = pd.read_parquet(path)
    base = load_base()
    base.tokenizer.enable_truncation(max_length=_MAX_TOKENS)
    names = sorted(frame["label"].unique())

    def part(split: str, count: int) -> TokenRows:
        chosen = frame[frame["split"] == split]
        chosen = chosen.sample(n=min(count, len(chosen)), random_state=0)
        texts = [clean(text, TextSettings.model_validate({})) for text in chosen["text"]]
        ids = [encoding.ids for encoding in base.tokenizer.encode_batch(texts)]
        labels = np.array([names.index(label) for label in chosen["label"]], np.int64)
        return TokenRows(ids, labels, np.ones(len(ids), np.float32))

    train, test = part("train", rows), part("test", test_rows)
    probe = fit_head(FeatureRows(embed_ids(base, train.ids), None), train.labels, classes=len(names))
    return Task(train, test, probe, settings)


def train_hone(task: Task, base: Base, seed: int) -> Head:
    """Return the head after Hone's loop."""
    return finetune(base, task.probe, task.train, _NOTHING, replace(task.settings, seed=seed))


def train_reference(task: Task, base: Base, seed: int) -> Head:
    """Return the head after a training by Hugging Face's Trainer with its defaults."""
    if task.probe.encoder is None:
        raise ValueError("the probe is a head over embeddings")
    model = Classifier(base, linear_of(task.probe.encoder, task.probe.bias))
    pairs = zip(task.train.ids, task.train.labels.tolist(), strict=True)
    rows = [{"input_ids": ids, "attention_mask": [1] * len(ids), "labels": label} for ids, label in pairs]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=most_epochs(task.train, task.settings),
            per_device_train_batch_size=task.settings.batch_texts,
            learning_rate=task.settings.learning_rate,
            seed=seed,
            # None of these changes what is learned: no files, no reports, no bar on the terminal.
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        collator = DataCollatorWithPadding(AutoTokenizer.from_pretrained(str(bundled_folder())))
        Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collator).train()
    model.eval()
    return head_of(model.linear)


Side = Callable[[Task, Base, int], Head]
SIDES: dict[str, Side] = {"hone": train_hone, "trainer": train_reference}


def measure(task: Task, number: int, side: str) -> Outcome:
    """Train one side from the start and judge it on the test rows; loading and judging are not counted."""
    base = load_base()
    began, cpu = time.perf_counter(), time.process_time()
    head = SIDES[side](task, base, number)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    scores = logits(head, FeatureRows(embed_ids(base, task.test.ids), None))
    accuracy = float((scores.argmax(axis=1) == task.test.labels).mean())
    examples = most_epochs(task.train, task.settings) * len(task.train.ids)
    return Outcome(number, side, round(examples / seconds, 2), round(seconds, 2), round(cpu_s, 2), round(accuracy, 4))


def summary(outcomes: Sequence[Outcome], test_rows: int) -> dict[str, float | bool]:
    """Return the median over rounds of what Hone has of the Trainer's pace, both accuracies, and whether the bars are kept.

    Accuracies count as the same while Hone's mean is no more than two standard errors of one training's accuracy below.
    """
    by_round: dict[int, dict[str, Outcome]] = {}
    for outcome in outcomes:
        by_round.setdefault(outcome.round, {})[outcome.side] = outcome
    pairs = [(found["hone"], found["trainer"]) for found in by_round.values() if len(found) == len(SIDES)]
    hone, trainer = (float(np.mean([pair[side].accuracy for pair in pairs])) for side in (0, 1))
    chance = 2.0 * math.sqrt(trainer * (1.0 - trainer) / test_rows)
    ratio = median(one.examples_per_s / other.examples_per_s for one, other in pairs)
    return {
        "speed_ratio": round(ratio, 3),
        "cpu_ratio": round(median(other.cpu_s / one.cpu_s for one, other in pairs), 3),
        "hone_accuracy": round(hone, 4),
        "trainer_accuracy": round(trainer, 4),
        "as_accurate": hone >= trainer - chance,
        "fast_enough": ratio >= LEAST_SPEED_RATIO,
    }


def write(folder: Path, outcomes: Sequence[Outcome], facts: dict[str, object]) -> None:
    """Write every round as CSV, and rounds and facts as JSON."""
    write_json(folder / "finetuning.json", "rounds", outcomes, facts)
    write_csv(folder / "finetuning.csv", outcomes)


def main() -> None:
    """Measure and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Parquet with text, label and split")
    parser.add_argument("--rows", type=int, default=1600, help="training rows, drawn at random")
    parser.add_argument("--test-rows", type=int, default=1000, help="test rows, drawn at random")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for JSON and CSV")
    options = parser.parse_args()
    task = read(options.data, options.rows, options.test_rows, FinetuneSettings(epochs=options.epochs))
    outcomes: list[Outcome] = []
    for number in range(options.rounds):
        for side in sorted(SIDES, reverse=bool(number % 2)):
            outcomes.append(measure(task, number, side))
            print(json.dumps(asdict(outcomes[-1])), flush=True)
    found = summary(outcomes, len(task.test.ids))
    machine = {"processor": platform.processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    libraries = {"torch": torch.__version__}
    write(options.out, outcomes, {**found, "settings": asdict(task.settings), "machine": machine, "libraries": libraries})
    print(json.dumps(found))
    sys.exit(0 if found["fast_enough"] and found["as_accurate"] else 1)


if __name__ == "__main__":
    main()
