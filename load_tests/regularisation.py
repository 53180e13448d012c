"""What it is worth that validation rows choose how far a head's weights are held back, against the usual penalty.

::

    python -m load_tests.regularisation --data-dir $DATA --set banking77 trec6 --rows 500 3000 --out results

Of each data set's training rows some are drawn, as ``hone train`` would be given them: a tenth chooses, the rest is learned,
and 2,000 others (or what is left) are judged by; the published test part is not read. Heads stand on frozen embeddings, n-grams
or both. Prints a line for each and writes ``regularisation.csv``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from core.bundle import Features
from core.classifier import softmax
from core.settings import Settings
from core.text import TextSettings, clean
from load_tests.tables import write_csv
from train.frozen import frozen_features
from train.head import REGULARISATION, logits
from train.measure import log_loss
from train.select import HeadRows, Option, fit_option

_JUDGED = 2_000
_KINDS: tuple[Features, ...] = ("encoder", "ngrams", "both")


@dataclass(frozen=True)
class Outcome:
    """A head with the usual penalty and one with the ``chosen`` (scikit-learn's ``C``), on rows that neither learned."""

    data: str
    rows: int
    labels: int
    features: str
    seed: int
    chosen: float
    usual_accuracy: float
    chosen_accuracy: float
    usual_log_loss: float
    chosen_log_loss: float


def compare(name: str, table: pd.DataFrame, rows: int, seed: int, settings: Settings) -> Iterator[Outcome]:
    """Yield what both come to for each kind of features, taught on ``rows`` rows of ``table``."""
    drawn = table.sample(n=min(len(table), rows + _JUDGED), random_state=seed)
    names = sorted(drawn["label"].unique())
    labels = np.array([names.index(label) for label in drawn["label"]], dtype=np.int64)
    features = frozen_features(settings, [clean(text, TextSettings.model_validate({})) for text in drawn["text"]])
    validation = rows // 10
    heads = HeadRows(
        features,
        labels,
        np.ones(len(labels), dtype=np.float32),
        np.arange(validation, rows),
        np.arange(validation),
        len(names),
    )
    judged = np.arange(rows, len(labels))

    def measured(option: Option) -> tuple[float, float]:
        scores = logits(option.head, heads.kind(option.features).take(judged)) / np.float32(option.temperature)
        right = float((scores.argmax(axis=1) == labels[judged]).mean())
        return round(right, 4), round(log_loss(softmax(scores), labels[judged]), 4)

    for kind in _KINDS:
        usual, chosen = (fit_option(heads, kind, kind, regularisation=given) for given in (REGULARISATION, None))
        (before, loss), (after, less) = measured(usual), measured(chosen)
        yield Outcome(name, rows, len(names), kind, seed, chosen.regularisation, before, after, loss, less)


def main() -> None:
    """Measure each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of public data sets")
    parser.add_argument("--set", nargs="+", default=["banking77"], help="their names")
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 3_000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of the CSV")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as home:
        settings = Settings.model_validate({"HONE_HOME": home})
        settings.home.prepare()
        for name in options.set:
            table = pd.read_parquet(options.data_dir / name / "data.parquet").astype({"text": str, "label": str})
            if "split" in table:
                table = table[table["split"] != "test"]
            for rows in options.rows:
                for seed in options.seeds:
                    for outcome in compare(name, table, rows, seed, settings):
                        found.append(outcome)
                        print(*asdict(outcome).values(), sep="\t", flush=True)
    write_csv(options.out / "regularisation.csv", found)


if __name__ == "__main__":
    main()
