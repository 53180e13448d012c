"""The five streams of the benchmark, made from public data sets: which rows, which plan, which bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from core.errors import DataError
from core.text import Split, text_key
from deploy.simulate.bars import (
    Bar,
    Records,
    bar,
    forgetting,
    learned,
    needless_full_runs,
    promotions_are_no_worse,
    recovery,
)
from deploy.simulate.plan import Plan, known
from deploy.simulate.stream import Cut, Row, Step, Stream, checked, stream_of
from train.reading import read_table

_STAGE_INTENTS = 10
_FIRST_INTENTS = 100
_EXAMPLES_EACH = 30
_CATEGORY_ROWS = 600
_CATEGORY_TEST_ROWS = 1_000
_SST2_BASE = 1_500
_SST2_STEPS = 12
_STILL_BASE = 3_000
_STILL_STEPS = 30


@dataclass(frozen=True)
class Preset:
    """A stream of the benchmark: from which data set, under which plan, judged by which bars."""

    data: str
    stream: Callable[[Path, int], Stream]
    plan: Plan
    judge: Callable[[Stream, Records], list[Bar]]
    about: str


def _huffpost(path: Path, seed: int) -> Stream:
    return stream_of(read_table(path), Cut("month", base_until="2019-12", seed=seed))


def _frame(path: Path) -> pd.DataFrame:
    table = read_table(path)
    frame = table.frame
    return frame[~frame[table.text].map(text_key).duplicated()].reset_index(drop=True)


def _rows(frame: pd.DataFrame, split: Split | None = None) -> tuple[Row, ...]:
    return tuple(Row(str(text), str(label), split) for text, label in zip(frame["text"], frame["label"], strict=True))


def _clinc150(path: Path, seed: int) -> Stream:
    frame = _frame(path)
    frame = frame[frame["label"] != "oos"]
    order = np.random.default_rng(seed).permutation(sorted(frame["label"].unique()))
    first = frame["label"].isin(order[:_FIRST_INTENTS])
    part = {name: frame["split"] == name for name in ("train", "validation", "test")}
    # The published validation rows are what the gate holds out, so that all training rows can be taught.
    base = _rows(frame[part["train"] & first], "train") + _rows(frame[part["validation"] & first], "test")
    steps = []
    for start in range(_FIRST_INTENTS, len(order), _STAGE_INTENTS):
        new = order[start : start + _STAGE_INTENTS]
        rows = frame[part["train"] & frame["label"].isin(new)].groupby("label").sample(_EXAMPLES_EACH, random_state=seed)
        steps.append(Step(f"{start} to {start + len(new)} intents", _rows(rows.sample(frac=1.0, random_state=seed))))
    tests = {"in scope": _rows(frame[part["test"]]), "stage one": _rows(frame[part["test"] & first])}
    return Stream("clinc150", base, tuple(steps), tests)


def _online_shopping(path: Path, seed: int) -> Stream:
    frame = _frame(path).sample(frac=1.0, random_state=seed)
    sizes = frame["category"].value_counts()
    names = sorted(sizes.index, key=lambda name: (-int(sizes[name]), str(name)))
    base: tuple[Row, ...] = ()
    steps: list[Step] = []
    tests: dict[str, tuple[Row, ...]] = {}
    for place, name in enumerate(names):
        rows = _rows(frame[frame["category"] == name])
        # Every test row is missed in learning, every learned one in measuring: of the small categories half of either.
        taught = min(_CATEGORY_ROWS * (3 if place == 0 else 1), len(rows) // 2)
        tests[str(name)] = rows[taught : taught + _CATEGORY_TEST_ROWS]
        if place == 0:
            base = rows[:taught]
        else:
            steps.append(Step(str(name), rows[:taught]))
    return Stream("online_shopping_10_cats", base, tuple(steps), tests)


def _sst2_parts(path: Path, seed: int, base_rows: int, steps: int, name: str) -> Stream:
    frame = _frame(path)
    train = _rows(frame[frame["split"] == "train"].sample(frac=1.0, random_state=seed))
    held = _rows(frame[frame["split"] == "validation"], "test")
    base = tuple(Row(row.text, row.label, "train") for row in train[:base_rows])
    parts = np.array_split(np.arange(base_rows, len(train)), steps)
    found = tuple(Step(f"{place + 1:02d}", tuple(train[row] for row in part)) for place, part in enumerate(parts))
    return Stream(name, base + held, found, {"clean": _rows(frame[frame["split"] == "test"])})


def _judge_huffpost(_: Stream, records: Records) -> list[Bar]:
    return [found for name in ("auto", "head") if name in records for found in recovery(records, name)]


def _judge_clinc150(_: Stream, records: Records) -> list[Bar]:
    found: list[Bar] = []
    joint = max((records[name][-1].tests["in scope"] for name in ("oracle", "oracle-head") if records.get(name)), default=None)
    for name in ("auto", "head", "full"):
        if not records.get(name):
            continue
        last = records[name][-1].tests
        first = records[name][0].tests_before.get("stage one")
        share = last["in scope"] / joint if joint else None
        ran = "was not run" if joint is None else f"has {joint:.4f}"
        why = f"in scope {last['in scope']:.4f}; joint training on the same labels {ran}"
        found.append(bar("share_of_joint_training", name, share, "at least", 0.97, why))
        lost = None if first is None else first - last["stage one"]
        found.append(bar("stage_one_lost", name, lost, "at most", 0.01, f"{first} before, {last['stage one']:.4f} at the end"))
    return found


def _judge_shopping(stream: Stream, records: Records) -> list[Bar]:
    names = list(stream.tests)
    return [
        found
        for name in ("auto", "head", "full")
        if records.get(name)
        for found in (*forgetting(records, name, names), *learned(records, name, names[1:]))
    ]


def _judge_hostile(_: Stream, records: Records) -> list[Bar]:
    found: list[Bar] = []
    for name in ("auto", "head"):
        if not records.get(name):
            continue
        found += promotions_are_no_worse(records, name, "clean")
        clean = records.get(f"{name}, clean")
        end = records[name][-1].tests["clean"]
        lost = clean[-1].tests["clean"] - end if clean else None
        why = f"{end:.4f} at the end, {clean[-1].tests['clean']:.4f} of the clean run" if clean else "the clean run is missing"
        found.append(bar("lost_to_hostility", name, lost, "at most", 0.01, why))
    return found


def _judge_still(_: Stream, records: Records) -> list[Bar]:
    return [
        found
        for name in ("auto", "head")
        if records.get(name)
        for found in (*promotions_are_no_worse(records, name, "clean"), *needless_full_runs(records, name))
    ]


PRESETS: Mapping[str, Preset] = {
    "huffpost": Preset(
        "huffpost_2018_2022",
        _huffpost,
        Plan(
            strategies=known("frozen", "head", "auto", "oracle-head", "oracle"),
            label_ratio=0.2,
            oracle_every=6,
            features="both",
        ),
        _judge_huffpost,
        "taught on 2018 and 2019, then month by month, a fifth of the traffic labelled",
    ),
    "clinc150": Preset(
        "clinc150",
        _clinc150,
        Plan(strategies=known("frozen", "head", "auto", "oracle-head"), label_ratio=1.0, oracle_every=1_000, features="both"),
        _judge_clinc150,
        "100 intents, then 10 new ones a stage with 30 examples each, as new labels",
    ),
    "online_shopping": Preset(
        "online_shopping_10_cats",
        _online_shopping,
        Plan(strategies=known("frozen", "head", "auto", "oracle-head"), label_ratio=1.0, oracle_every=1_000),
        _judge_shopping,
        f"a new kind of product a stage, {_CATEGORY_ROWS} reviews of each at most, all labelled",
    ),
    "sst2-hostile": Preset(
        "sst2",
        lambda path, seed: _sst2_parts(path, seed, _SST2_BASE, _SST2_STEPS, "sst2-hostile"),
        Plan(
            strategies=known("frozen", "head", "auto"), label_ratio=0.3, correct_ratio=0.5, hostile_ratio=0.2, features="both"
        ),
        _judge_hostile,
        "a fifth of what is said comes from hostile annotators, who say the opposite; and the same without them",
    ),
    "still": Preset(
        "sst2",
        lambda path, seed: _sst2_parts(path, seed, _STILL_BASE, _STILL_STEPS, "still"),
        Plan(strategies=known("frozen", "head", "auto"), label_ratio=0.2, features="both"),
        _judge_still,
        "30 rounds in which nothing changes",
    ),
}


def preset_stream(name: str, data_dir: Path, seed: int) -> Stream:
    """Return the stream of a preset from a folder that holds ``<data set>/data.parquet``.

    Raises:
        DataError: the file is not there, or is another one.
    """
    preset = PRESETS[name]
    path = data_dir / preset.data / "data.parquet"
    if not path.exists():
        raise DataError(f"there is no file {path}; --data-dir names the folder that holds {preset.data}/data.parquet")
    try:
        return checked(preset.stream(path, seed))
    except KeyError as error:
        raise DataError(f"{path} has no column {error}; it is not the data set that --preset {name} is about") from None


def judge_own(stream: Stream, records: Records) -> list[Bar]:
    """Return what can be asked of a stream that nobody knows: the oracle's gain at little cost, and no worse version."""
    found: list[Bar] = []
    for name in ("auto", "head", "full"):
        if not records.get(name):
            continue
        if "frozen" in records and any(records.get(oracle) for oracle in ("oracle", "oracle-head")):
            found += recovery(records, name)
        for test in stream.tests:
            found += promotions_are_no_worse(records, name, test)
    return found
