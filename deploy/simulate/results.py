"""What a simulation leaves: a CSV of all steps, a JSON of all there is to know, and a table for people."""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel

from core.home import write_atomically
from core.schemas import now
from deploy.simulate.bars import Bar, Records, prequential, train_s
from deploy.simulate.plan import Plan
from deploy.simulate.records import StepRecord
from deploy.simulate.stream import Stream

_LIBRARIES = ("hone", "numpy", "scipy", "scikit-learn", "torch", "transformers", "onnxruntime-gpu", "onnxruntime", "ray")


class Summary(BaseModel):
    """One strategy in one line."""

    strategy: str
    accuracy: float
    last_tests: dict[str, float]
    labels: int
    wrong_labels: int
    runs: int
    full_runs: int
    promoted: int
    train_wall_s: float
    train_cpu_s: float


def summary_of(strategy: str, records: Sequence[StepRecord]) -> Summary:
    """Return what a strategy came to."""
    runs = [record.run for record in records if record.run is not None]
    wall, cpu = train_s(records)
    return Summary(
        strategy=strategy,
        accuracy=round(prequential(records), 6),
        last_tests=records[-1].tests,
        labels=records[-1].said,
        wrong_labels=records[-1].said_wrong,
        runs=len(runs),
        full_runs=sum(run.trained == "full" for run in runs),
        promoted=sum(run.promoted for run in runs),
        train_wall_s=round(wall, 1),
        train_cpu_s=round(cpu, 1),
    )


def write_results(
    folder: Path, stream: Stream, plan: Plan, records: Records, bars: Sequence[Bar], command: Sequence[str]
) -> list[Summary]:
    """Write ``steps.csv`` and ``results.json`` into ``folder`` and return the line of each strategy."""
    summaries = [summary_of(name, own) for name, own in records.items() if own]
    _write_steps(folder / "steps.csv", records)
    known = {
        "stream": stream.name,
        "fingerprint": stream.fingerprint(),
        "rows": {
            "base": len(stream.base),
            "asked": stream.rows,
            "left_out": stream.left_out,
            **{f"test {name}": len(rows) for name, rows in stream.tests.items()},
        },
        "labels": len(stream.labels),
        "plan": plan.model_dump(mode="json"),
        "command": " ".join(command),
        "finished": now().strftime("%Y-%m-%d"),
        "machine": machine(),
        "settings": {name: value for name, value in sorted(os.environ.items()) if name.startswith("HONE_GATE_")},
        "versions": _versions(),
        "bars": [bar.model_dump() for bar in bars],
        "strategies": [summary.model_dump() for summary in summaries],
        "steps": {
            name: [record.model_dump(mode="json", exclude={"answers"}) for record in own] for name, own in records.items()
        },
    }
    write_atomically(folder / "results.json", json.dumps(known, ensure_ascii=False, indent=1).encode())
    return summaries


def machine() -> dict[str, str | int]:
    """Return what the figures were taken on."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        # Not Linux; the platform's own word stands.
        pass
    return {"processor": model, "cores": os.cpu_count() or 1, "python": platform.python_version(), "system": platform.system()}


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _write_steps(path: Path, records: Mapping[str, Sequence[StepRecord]]) -> None:
    tests = sorted({name for own in records.values() for record in own for name in record.tests})
    columns = ["strategy", "step", "rows", "right", "accuracy", "labels_so_far", "wrong_labels_so_far", "version"]
    run_columns = ["trained", "candidate", "promoted", "gate", "train_wall_s", "train_cpu_s"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *run_columns, *(f"test {name}" for name in tests)])
        for strategy, own in records.items():
            for record in own:
                run = record.run
                facts = (
                    [run.trained or run.speed, run.version, run.promoted, run.summary, run.wall_s, run.cpu_s]
                    if run
                    else [""] * 6
                )
                head = [record.said, record.said_wrong, record.version]
                measured = [record.tests.get(name, "") for name in tests]
                share = f"{record.accuracy:.4f}"
                writer.writerow([strategy, record.name, record.rows, record.right, share, *head, *facts, *measured])
