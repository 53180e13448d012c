"""The measurements: each runs what the page names, keeps all that was printed, and returns the numbers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from core.text import text_key

# Of each label in a trial, and of all together at least: enough for the gate's fewest rows of the holdout.
_TRIAL_ROWS = {"train": (20, 400), "test": (6, 200)}
_HONE = ("-c", "from deploy.cli import main; main()")
_LOOP_LINE = re.compile(
    r"recall of the three intents ([\d.]+)% → ([\d.]+)%, others ([\d.]+)% → ([\d.]+)%; (\d+) answers under traffic"
)


class NotMeasured(Exception):
    """A command failed, or said something else than it should; what it printed is in the run's folder."""


@dataclass(frozen=True)
class Work:
    """Where the data sets are (None: nowhere), and the folder of this run, with a state folder of its own.

    A ``trial`` measures on few rows and for a moment, to see that every command still says what is read here.
    """

    data: Path | None
    folder: Path
    trial: bool = False

    @property
    def home(self) -> Path:
        """The run's state folder; nothing in it comes from an earlier run, so training is timed whole."""
        return self.folder / "home"

    def dataset(self, name: str) -> Path:
        """Return the file of a public data set.

        Raises:
            NotMeasured: there are no data sets.
        """
        if self.data is None:
            raise NotMeasured("there are no data sets; name their folder in HONE_BENCH_DATA")
        path = self.data / name / "data.parquet"
        if not self.trial:
            return path
        few = self.folder / f"{name}.parquet"
        few_rows(pd.read_parquet(path)).to_parquet(few)
        return few

    def run(self, name: str, *arguments: str, passes: tuple[int, ...] = (0,), **variables: str) -> str:
        """Return what Python printed when run with ``arguments``; standard output and error are kept as files.

        Raises:
            NotMeasured: it ended with a code that is not one of ``passes``.
        """
        environment = {**os.environ, "HONE_HOME": str(self.home), **variables}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        (self.folder / f"{name}.out").write_text(done.stdout, encoding="utf-8")
        (self.folder / f"{name}.err").write_text(done.stderr, encoding="utf-8")
        if done.returncode not in passes:
            raise NotMeasured(f"{name} ended with code {done.returncode}; see {self.folder / name}.err")
        return done.stdout

    def hone(self, name: str, *arguments: str) -> dict[str, Any]:
        """Return what a command of Hone prints with ``--json``."""
        found: dict[str, Any] = json.loads(self.run(name, *_HONE, *arguments, "--json"))
        return found


def few_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the first rows of each label and split.

    >>> many = pd.DataFrame({"label": list("ab") * 500, "split": ["train"] * 700 + ["test"] * 300})
    >>> few_rows(many).split.value_counts().to_dict()
    {'train': 400, 'test': 200}
    """
    labels = frame.label.nunique()
    most = {split: max(each, in_all // labels) for split, (each, in_all) in _TRIAL_ROWS.items()}
    place = frame.groupby(["label", "split"]).cumcount()
    return frame[place < frame.split.map(lambda split: most.get(split, most["test"]))]


def head(work: Work) -> dict[str, float]:
    """Teach the head alone and evaluate it."""
    return _taught(work, "head")


def full(work: Work) -> dict[str, float]:
    """Teach the encoder too, evaluate it, and compare the engine with torch."""
    found = _taught(work, "full")
    data = str(work.dataset("banking77"))
    compared = work.hone("compare", "evaluate", data, "--compare-with", "torch")
    fp32 = work.hone("fp32", "evaluate", data, "--engine", "fp32")
    return {
        "accuracy": found["accuracy"],
        "train_min": found["train_s"] / 60,
        "agreement": 100 * compared["agreement_ratio"],
        "fp32_accuracy": 100 * fp32["metrics"]["accuracy"],
    }


def members(work: Work) -> dict[str, float]:
    """Teach the encoder three times and evaluate the average."""
    data = str(work.dataset("banking77"))
    work.hone("train", "train", "--data", data, "--speed", "full", "--members", "3")
    return {"accuracy": 100 * work.hone("evaluate", "evaluate", data)["metrics"]["accuracy"]}


def reviews(work: Work) -> dict[str, float]:
    """Teach Chinese reviews and evaluate on the test texts that are no copies of training texts."""
    data = work.dataset("chnsenticorp")
    clean = work.folder / "clean.parquet"
    rows = without_copies(pd.read_parquet(data))
    rows.to_parquet(clean)
    work.hone("train", "train", "--data", str(data))
    found = work.hone("evaluate", "evaluate", str(clean))
    return {"accuracy": 100 * found["metrics"]["accuracy"], "rows": float(len(rows))}


def without_copies(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the test rows whose text is none of the training texts, as normalisation sees them."""
    keys = frame.text.map(text_key)
    taught = set(keys[frame.split == "train"])
    return frame[(frame.split == "test") & ~keys.isin(taught)]


def loop(work: Work) -> dict[str, float]:
    """Run the end-to-end test of the loop, which prints its figures."""
    if work.data is None:
        raise NotMeasured("there are no data sets; name their folder in HONE_BENCH_DATA")
    printed = work.run(
        "pytest",
        "-m",
        "pytest",
        "tests/e2e/test_loop_banking77.py",
        "-q",
        "-p",
        "no:cacheprovider",
        HONE_BENCH_DATA=str(work.data),
    )
    return read_loop(printed)


def read_loop(printed: str) -> dict[str, float]:
    """Return the numbers in the line that the end-to-end test prints.

    Raises:
        NotMeasured: there is no such line, because the test was skipped for example.
    """
    line = _LOOP_LINE.search(printed)
    if line is None:
        raise NotMeasured("the end-to-end test printed no figures")
    names = ("recall_before", "recall_after", "others_before", "others_after", "answers")
    return dict(zip(names, map(float, line.groups()), strict=True))


def startup(work: Work) -> dict[str, float]:
    """Start a service that knows nothing, stop it, and start it again."""
    # Exit code 1 says that a limit was passed, which the numbers say as well.
    found = json.loads(work.run("startup", "-m", "load_tests.startup", passes=(0, 1)))
    return {name: float(found[name]) for name in ("first_answer_s", "second_answer_s", "stop_s")}


def serving(work: Work) -> dict[str, float]:
    """Measure serving's speed against the raw engine and the expert's server."""
    arguments = [
        "--out",
        str(work.folder / "serving"),
        "--home",
        str(work.home),
        "--parts",
        "speed",
        "--no-plain-ray",
        *(["--smoke"] if work.trial else ["--rounds", "3"]),
    ]
    variables = {"HONE_BENCH_DATA": str(work.data)} if work.data else {}
    work.run("serving", "-m", "load_tests.serving", *arguments, passes=(0, 1), **variables)
    found = json.loads((work.folder / "serving" / "results.json").read_text(encoding="utf-8"))["figures"]
    return {name: float(found[name]) for name in ("batches_to_raw", "singles_to_raw", "singles_to_expert")}


def _taught(work: Work, speed: str) -> dict[str, float]:
    data = str(work.dataset("banking77"))
    taught = work.hone("train", "train", "--data", data, "--speed", speed)
    found = work.hone("evaluate", "evaluate", data)
    return {"accuracy": 100 * found["metrics"]["accuracy"], "train_s": float(sum(taught["seconds"].values()))}
