"""How accurate the full speed is on published splits: a training for each seed, and one version made of all of them.

::

    python -m load_tests.accuracy --data $DATA/banking77/data.parquet --bar 0.948 --out results
    python -m load_tests.accuracy --data $DATA/clinc150/data.parquet --out-of-scope oos --out-of-scope-recall 0.6 --bar 0.97
    python -m load_tests.accuracy --data $DATA/sst2/data.parquet --way thorough --bar 0.9 --out results

Each training is that of ``hone train --speed full --seed N``; every choice in it (epoch, weight of the n-grams, temperature,
engine, threshold) is made on training and validation rows, and the test part is read once, when a version is finished. Then the
average of the seeds' weights (``hone ensemble --how soup`` and ``--how greedy``) is measured alike. Prints a line for each
version, and writes ``accuracy.json`` and ``accuracy.csv``. The exit code is 1 when the mean over seeds is below ``--bar``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from core.finetuning import PRESETS, finetuning, parse_changes
from core.registry import Registry
from core.settings import Settings
from feedback.snapshot import Snapshot
from load_tests.serving import machine
from load_tests.tables import write_csv, write_json
from train.abstaining import scope
from train.ensemble import EnsembleRequest, ensemble
from train.held import Held, read_held
from train.request import FinetuneSettings, How
from train.scoring import scores_of
from train.teach import TeachRequest, teach


@dataclass(frozen=True)
class Outcome:
    """A version on the test rows.

    ``accuracy`` is that of the engine that is served, on rows in scope where some are out of it; ``accuracy_fp32`` that of the
    engine in fp32 on all rows. ``recall`` and ``in_scope`` are out-of-scope rows found and others right at the threshold that
    validation rows chose.
    """

    version: str
    made: str
    seed: int | None
    validation_accuracy: float | None
    accuracy: float
    accuracy_fp32: float | None
    chosen: str
    seconds: float
    cpu_s: float
    min_score: float | None = None
    in_scope: float | None = None
    recall: float | None = None


@dataclass(frozen=True)
class Plan:
    """What is taught and how it is judged."""

    data: Path
    finetune: FinetuneSettings
    out_of_scope: str | None
    in_scope_accuracy: float | None
    out_of_scope_recall: float | None = None
    validation_ratio: float | None = None


def judge(settings: Settings, version: str, plan: Plan) -> dict[str, float | None]:
    """Return what the outcome says of a version's answers to the test rows of its own snapshot."""
    registry = Registry(settings.home.registry)
    manifest, folder = registry.manifest(version), registry.path(version)
    examples = [
        row
        for row in Snapshot.load(settings.home.snapshots, manifest.lineage.snapshot).of_split("test")
        if row.origin == "base"
    ]
    scores = scores_of(folder, [row.text for row in examples], settings.home.cache)
    truth = np.array([manifest.labels.index(row.label) for row in examples])
    right = scores.argmax(axis=1) == truth
    fp32 = None if manifest.parity is None else manifest.parity.accuracy_torch
    found: dict[str, float | None] = {
        "validation_accuracy": manifest.metrics.get("validation_accuracy"),
        "accuracy": round(float(right.mean()), 5),
        "accuracy_fp32": fp32,
    }
    held = read_held(folder)
    if plan.out_of_scope is None or held is None:
        return found
    place = manifest.labels.index(plan.out_of_scope)
    wanted = {"in_scope_accuracy": plan.in_scope_accuracy, "out_of_scope_recall": plan.out_of_scope_recall}
    told = scope(plan.out_of_scope, place, held, Held.of(scores, truth), **wanted)
    found["accuracy"] = round(float(right[truth != place].mean()), 5)
    if told is not None:
        at = told.measured
        found |= {"min_score": at.min_score, "in_scope": at.in_scope_accuracy, "recall": at.out_of_scope_recall}
    return found


def train(settings: Settings, plan: Plan, seed: int) -> Outcome:
    """Train once and judge what came out."""
    began, cpu = time.perf_counter(), time.process_time()
    tuning = replace(plan.finetune, seed=seed)
    ratio = plan.validation_ratio
    request = TeachRequest(plan.data, speed="full", seed=seed, promote=False, finetune=tuning, validation_ratio=ratio)
    report = teach(settings, request)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    chosen = next(option.name for option in report.options if option.chosen)
    return _outcome(settings, plan, report.version, "full", seed, chosen, (seconds, cpu_s))


def combine(settings: Settings, plan: Plan, versions: Sequence[str], how: How) -> Outcome:
    """Make one of the versions and judge it."""
    began, cpu = time.perf_counter(), time.process_time()
    report = ensemble(settings, EnsembleRequest(tuple(versions), how, promote=False))
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    chosen = next(option.name for option in report.options if option.chosen)
    used = " ".join(member.version for member in report.members if member.used)
    return _outcome(settings, plan, report.version, f"{how} of {used}", None, chosen, (seconds, cpu_s))


def _outcome(
    settings: Settings, plan: Plan, version: str, made: str, seed: int | None, chosen: str, took: tuple[float, float]
) -> Outcome:
    found = judge(settings, version, plan)
    return Outcome(version, made, seed, chosen=chosen, seconds=round(took[0], 1), cpu_s=round(took[1], 1), **found)  # type: ignore[arg-type] # by name


def summary(outcomes: Sequence[Outcome], bar: float | None) -> dict[str, float | bool | None]:
    """Return the mean and the range of the seeds' accuracies, the same of what was found out of scope, and the bar."""
    single = [outcome for outcome in outcomes if outcome.seed is not None]
    values = [outcome.accuracy for outcome in single]
    recalls = [outcome.recall for outcome in single if outcome.recall is not None]
    kept = [outcome.in_scope for outcome in single if outcome.in_scope is not None]
    mean = float(np.mean(values))
    return {
        "mean": round(mean, 5),
        "low": min(values),
        "high": max(values),
        "in_scope_at_threshold": round(float(np.mean(kept)), 5) if kept else None,
        "recall_at_threshold": round(float(np.mean(recalls)), 5) if recalls else None,
        "short_of_bar": None if bar is None else round(max(0.0, bar - mean), 5),
        "reached": None if bar is None else mean >= bar,
    }


def write(folder: Path, outcomes: Sequence[Outcome], facts: dict[str, object]) -> None:
    """Write every version as CSV, and versions and facts as JSON."""
    write_json(folder / "accuracy.json", "versions", outcomes, facts)
    write_csv(folder / "accuracy.csv", outcomes)


def main() -> None:
    """Measure, write after each version, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Parquet with text, label and split")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--way", default="balanced", help='a preset and what differs from it, "thorough dropout=0.2"')
    parser.add_argument("--out-of-scope", metavar="LABEL", help="label of rows that the model should not answer")
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--in-scope-accuracy", type=float, help="what rows in scope keep, on validation rows")
    wanted.add_argument("--out-of-scope-recall", type=float, help="or the share of the others to be found there")
    parser.add_argument("--validation", type=float, metavar="RATIO", help="as hone train --validation")
    parser.add_argument("--bar", type=float, help="the mean over seeds that is wanted")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for JSON and CSV")
    parser.add_argument("--home", type=Path, help="state folder to go on with; absent: one that goes with the command")
    options = parser.parse_args()
    preset, *pairs = options.way.split()
    if preset not in PRESETS:
        parser.error(f"--way begins with a preset: {', '.join(PRESETS)}; got {preset!r}")
    tuning = finetuning(preset, parse_changes(pairs))
    plan = Plan(
        options.data, tuning, options.out_of_scope, options.in_scope_accuracy, options.out_of_scope_recall, options.validation
    )
    # Each training has a seed of its own, which its version names.
    common = {name: value for name, value in asdict(tuning).items() if name != "seed"}
    facts: dict[str, object] = {"data": options.data.parent.name, "settings": common, "machine": machine()}
    with tempfile.TemporaryDirectory() as temporary:
        settings = Settings.model_validate({"HONE_HOME": options.home or Path(temporary)})
        outcomes: list[Outcome] = []

        def note(outcome: Outcome) -> None:
            outcomes.append(outcome)
            print(json.dumps(asdict(outcome)), flush=True)
            write(options.out, outcomes, {**facts, **summary(outcomes, options.bar)})

        for seed in options.seeds:
            note(train(settings, plan, seed))
        trained = [outcome.version for outcome in outcomes]
        hows: tuple[How, ...] = ("soup", "greedy") if len(trained) > 1 else ()
        for how in hows:
            note(combine(settings, plan, trained, how))
    found = summary(outcomes, options.bar)
    print(json.dumps(found))
    sys.exit(0 if found["reached"] in (True, None) else 1)


if __name__ == "__main__":
    main()
