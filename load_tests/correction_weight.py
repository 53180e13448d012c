"""What labels that chance drew should weigh in a head: as base rows do, their errors more, or all of them more.

::

    python -m load_tests.correction_weight --data-dir $DATA --preset online_shopping huffpost sst2-hostile

After a third, two thirds and all but the last of a stream's steps a head is fitted over frozen features, on the base rows and
on the share of the steps that the plan's audit draws. Errors are those of a head on the base rows alone. Everybody who labels
is honest. Judged are rows that no head learned: a fifth of what was drawn (``seen``: traffic so far) and the next step
(``next``: traffic as it changes). The rows on which versions are measured at the end are not read. Prints a line for each, and
writes ``correction-weight.csv``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.settings import Settings
from core.text import TextSettings, clean, split_of, text_key
from deploy.simulate.presets import PRESETS, preset_stream
from deploy.simulate.stream import Row, Stream
from feedback.accuracy import is_drawn
from load_tests.tables import write_csv
from train.frozen import frozen_features
from train.head import fit_head, logits

# What an error weighs, and what any other of the labels.
WAYS = {"alike": (1.0, 1.0), "errors 4": (4.0, 1.0), "all 2": (2.0, 2.0), "all 4": (4.0, 4.0)}

IntVector = NDArray[np.int64]


@dataclass(frozen=True)
class Outcome:
    """Right answers on rows that were not learned, of so many."""

    stream: str
    steps: int
    way: str
    learned_rows: int
    errors: int
    seen: float
    seen_rows: int
    next: float
    next_rows: int


@dataclass(frozen=True)
class _Parts:
    """Places of rows among all: base, learned beside it, judged of the same steps, and of the next one."""

    base: IntVector
    learned: IntVector
    seen: IntVector
    next: IntVector


def measure(name: str, stream: Stream, label_ratio: float, settings: Settings) -> Iterator[Outcome]:
    """Yield what each way comes to after parts of the stream ``name``."""
    marks = sorted({max(1, round(len(stream.steps) * share)) for share in (1 / 3, 2 / 3)} | {len(stream.steps) - 1})
    for steps in marks:
        rows, parts = _rows(stream, steps, label_ratio)
        names = sorted({row.label for row in rows})
        labels = np.array([names.index(row.label) for row in rows], dtype=np.int64)
        texts = [clean(row.text, TextSettings.model_validate({})) for row in rows]
        features = frozen_features(settings, texts)
        first = fit_head(features.take(parts.base), labels[parts.base], classes=len(names))
        wrong = logits(first, features.take(parts.learned)).argmax(axis=1) != labels[parts.learned]
        inside = np.concatenate([parts.base, parts.learned])
        for way, (of_error, of_other) in WAYS.items():
            weights = np.concatenate([np.ones(len(parts.base)), np.where(wrong, of_error, of_other)]).astype(np.float32)
            head = fit_head(features.take(inside), labels[inside], classes=len(names), weights=weights)
            seen, later = (
                round(float((logits(head, features.take(places)).argmax(axis=1) == labels[places]).mean()), 4)
                for places in (parts.seen, parts.next)
            )
            yield Outcome(name, steps, way, len(parts.learned), int(wrong.sum()), seen, len(parts.seen), later, len(parts.next))


def _rows(stream: Stream, steps: int, label_ratio: float) -> tuple[list[Row], _Parts]:
    rows = list(stream.base)
    learned: list[int] = []
    seen: list[int] = []
    for step in stream.steps[:steps]:
        for row in step.rows:
            if is_drawn(text_key(row.text), label_ratio):
                (seen if split_of(text_key(row.text)) == "test" else learned).append(len(rows))
                rows.append(row)
    begin = len(rows)
    rows += stream.steps[steps].rows
    parts = (np.arange(len(stream.base)), np.array(learned), np.array(seen), np.arange(begin, len(rows)))
    return rows, _Parts(*(part.astype(np.int64) for part in parts))


def main() -> None:
    """Measure each stream."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of public data sets")
    parser.add_argument("--preset", nargs="+", choices=list(PRESETS), default=["online_shopping"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of the CSV")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as home:
        settings = Settings.model_validate({"HONE_HOME": home})
        settings.home.prepare()
        for name in options.preset:
            stream = preset_stream(name, options.data_dir, options.seed)
            for outcome in measure(name, stream, PRESETS[name].plan.label_ratio, settings):
                found.append(outcome)
                print(*asdict(outcome).values(), sep="\t", flush=True)
    write_csv(options.out / "correction-weight.csv", found)


if __name__ == "__main__":
    main()
